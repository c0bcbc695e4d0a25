"""The upload page, for people and for programs."""

import errno
import logging
import time
from collections.abc import Sequence
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods
from django.views.decorators.vary import vary_on_headers

from upload.forms import UploadForm
from upload.handlers import PictureUploadHandler
from upload.models import Picture

PER_PAGE, RETRY_SECONDS = 24, 5
# The last of several pictures in one form begins by then: with its wait and its decoding it ends before nginx gives up.
FORM_SECONDS = 20.0
# By error code; what is not here is a 400.
STATUS = {"login_required": 401, "csrf_failed": 403, "too_large": 413, "not_a_picture": 415, "type_mismatch": 415}
STATUS |= {"busy": 503, "unavailable": 503, "disk_full": 507}


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def refuse(request: HttpRequest, message: str, code: str) -> HttpResponse:
    """Answer with an error, in the form that was asked for and without using the database."""
    status = STATUS.get(code, 400)
    response = render(request, "upload/error.html", {"message": message}, status=status)
    if wants_json(request):
        response = JsonResponse({"error": {"code": code, "message": message}}, status=status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def explain(error: Exception) -> tuple[str, str]:
    """Log why nothing could be stored; return what visitors are told, and its code."""
    logging.getLogger(__name__).error("The upload page failed: %r", error)
    if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
        return _("The server's disk is full. Try again later."), "disk_full"
    return _("The server cannot store pictures right now. Try again later."), "unavailable"


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request without a valid CSRF token; this is settings.CSRF_FAILURE_VIEW."""
    return refuse(request, _("This page is too old, or cookies are off. Load it again, then retry."), "csrf_failed")


@csrf_exempt  # Until _keep: looking for the token reads the files, and for that the handler has to be in place.
@require_http_methods(["GET", "HEAD", "POST"])
@vary_on_headers("Accept")
@cache_control(private=True, no_cache=True)
def upload(request: HttpRequest) -> HttpResponse:
    """GET: the form and the newest pictures. POST: keep what was sent in the field image_file."""
    request.upload_handlers = [PictureUploadHandler(request)]
    try:
        if request.method != "POST":
            return _page(request)
        if settings.UPLOAD_REQUIRES_LOGIN and not request.user.is_authenticated:
            return refuse(request, _("Sign in to upload pictures."), "login_required")
        return _keep(request)
    except (UnreadablePostError, MultiPartParserError, SuspiciousOperation):
        return refuse(request, _("The upload was cut short, or is not a form."), "bad_request")
    except (OSError, DatabaseError) as error:
        return refuse(request, *explain(error))
    finally:
        request.close()  # deletes temporary files now, not when the answer has been sent
        request.upload_handlers[0].upload_interrupted()  # Django leaves the one that an error ended to the next sweep


@csrf_protect
def _keep(request: HttpRequest) -> HttpResponse:
    files, json = request.FILES.getlist("image_file"), wants_json(request)
    if not files or len(request.FILES) > 1 or len(files) > (1 if json else len(files)):
        message = _("Choose a picture. Programs send one in each request, in the field “image_file”.")
        return refuse(request, message, "several_files" if files else "no_file")
    kept, errors, end = [], [], time.monotonic() + FORM_SECONDS
    for file in files:
        try:
            if time.monotonic() > end or (errors and errors[-1][1].code == "busy"):
                raise ValidationError(_("Many pictures are arriving. Try again in a few seconds."), "busy")
            form = UploadForm(files={"image_file": file})
            if form.errors:
                raise form.errors.as_data()["image_file"][0]
            kept.append(Picture.keep(file, **form.facts))
        except ValidationError as error:
            errors.append((file.sent_name, error))
        except (OSError, DatabaseError) as error:
            # What was kept before has to be said, or it is sent again.
            if not kept:
                raise
            errors.append((file.sent_name, ValidationError(*explain(error))))
    if json and errors:
        return refuse(request, errors[0][1].messages[0], errors[0][1].code)
    if json:
        return JsonResponse(kept[0].facts(), status=201)
    if errors:
        return _page(request, kept, errors)
    # A page that can be loaded again without sending the pictures again.
    return redirect(f"{request.path}?{urlencode([('kept', picture.pk) for picture in kept])}")


def _page(request: HttpRequest, kept: Sequence[Picture] = (), errors: Sequence[tuple] = ()) -> HttpResponse:
    # What the list of pictures depends on, and the key that its HTML is cached under: right in every process at once.
    state = Picture.objects.aggregate(count=Count("id"), newest=Max("id"), changed=Max("changed_at"))
    paginator = Paginator(Picture.objects.all(), PER_PAGE)
    paginator.count = state["count"]
    keys = [int(key) for key in request.GET.getlist("kept")[:100] if key.isdecimal() and len(key) < 19]
    kept = kept or (Picture.objects.filter(pk__in=keys) if keys else [])
    context = {"state": state, "page": paginator.get_page(request.GET.get("page")), "kept": kept, "errors": errors}
    context |= {"max_mb": settings.MAX_UPLOAD_MB, "requires_login": settings.UPLOAD_REQUIRES_LOGIN}
    return render(request, "upload/upload.html", context, status=STATUS.get(errors[0][1].code, 400) if errors else 200)
