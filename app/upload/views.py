"""The upload page, for people and for programs, and each picture's own page."""

import errno
import logging
from collections.abc import Sequence
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Count, Max
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from upload.forms import UploadForm
from upload.handlers import PictureUploadHandler
from upload.models import Picture

PER_PAGE = 24
FIELD = "image_file"
# What is not here is a 400.
STATUS = {
    "login_required": 401,
    "csrf_failed": 403,
    "too_large": 413,
    "unsupported_type": 415,
    "type_mismatch": 415,
    "busy": 503,
    "unavailable": 503,
    "disk_full": 507,
}
RETRY_SECONDS = 5

Error = tuple[str, ValidationError]

logger = logging.getLogger(__name__)


def wants_json(request: HttpRequest) -> bool:
    """Tell whether the client prefers JSON; browsers and a bare curl don't."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def may_upload(request: HttpRequest) -> bool:
    """Tell whether this visitor may upload."""
    return not settings.UPLOAD_REQUIRES_LOGIN or request.user.is_authenticated


def refuse(request: HttpRequest, code: str, message: str) -> HttpResponse:
    """Answer with an error, in the form that was asked for and without using the database."""
    status = STATUS.get(code, 400)
    if wants_json(request):
        response: HttpResponse = JsonResponse({"error": {"code": code, "message": message}}, status=status)
    else:
        response = render(request, "upload/error.html", {"message": message}, status=status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a request without a valid CSRF token; this is settings.CSRF_FAILURE_VIEW."""
    return refuse(request, "csrf_failed", _("This page is too old, or cookies are off. Load it again, then retry."))


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
        if not may_upload(request):
            return refuse(request, "login_required", _("Sign in to upload pictures."))
        return _keep(request)
    except UnreadablePostError:
        return refuse(request, "interrupted", _("The upload was interrupted."))
    except (MultiPartParserError, SuspiciousOperation):
        return refuse(request, "bad_request", _("The request could not be read as an upload form."))
    except (OSError, DatabaseError) as error:
        logger.error("The upload page failed: %r", error)
        if getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            return refuse(request, "disk_full", _("The server's disk is full. Nothing was kept; try again later."))
        return refuse(request, "unavailable", _("The server cannot store pictures right now. Try again later."))
    finally:
        # Now, not when the answer has been sent: temporary files take room.
        request.close()


@csrf_protect
def _keep(request: HttpRequest) -> HttpResponse:
    files = request.FILES.getlist(FIELD)
    if not files or len(request.FILES) > 1 or (wants_json(request) and len(files) > 1):
        message = _("Choose a picture. Programs send one in each request, in the field “image_file”.")
        return refuse(request, "no_file" if not files else "several_files", message)
    kept, errors = [], []
    for file in files:
        form = UploadForm(files={FIELD: file})
        if form.is_valid():
            kept.append(form.save())
        else:
            errors.append((file.sent_name, form.errors.as_data()[FIELD][0]))
    if not wants_json(request):
        if errors:
            return _page(request, kept, errors)
        # A page that can be loaded again without sending the pictures again.
        return redirect(f"{reverse('upload')}?{urlencode([('kept', picture.pk) for picture in kept])}")
    if errors:
        return refuse(request, errors[0][1].code, errors[0][1].messages[0])
    facts = kept[0].facts()
    return JsonResponse(facts, status=201, headers={"Location": facts["page_url"]})


def _page(request: HttpRequest, kept: Sequence[Picture] = (), errors: Sequence[Error] = ()) -> HttpResponse:
    # What the list of pictures depends on, and the key that its HTML is cached under: right in every process at once.
    state = Picture.objects.aggregate(count=Count("id"), newest=Max("id"), changed=Max("changed_at"))
    paginator = Paginator(Picture.objects.all(), PER_PAGE)
    paginator.count = state["count"]
    page = paginator.get_page(request.GET.get("page"))
    if wants_json(request):
        facts = [picture.facts() for picture in page]
        return JsonResponse({"pictures": facts, "page": page.number, "pages": paginator.num_pages})
    keys = [int(key) for key in request.GET.getlist("kept")[:100] if key.isdecimal() and len(key) < 19]
    context = {
        "page": page,
        "state": state,
        "kept": kept or (Picture.objects.filter(pk__in=keys) if keys else ()),
        "errors": [(name, error.messages[0]) for name, error in errors],
        "max_mb": settings.MAX_UPLOAD_MB,
        "may_upload": may_upload(request),
    }
    status = STATUS.get(errors[0][1].code, 400) if errors else 200
    return render(request, "upload/upload.html", context, status=status)


@require_safe
@cache_control(private=True, no_cache=True)
def picture(request: HttpRequest, pk: int) -> HttpResponse:
    """One picture, and what is known of it."""
    return render(request, "upload/picture.html", {"picture": get_object_or_404(Picture, pk=pk)})
