"""The site's addresses; the health addresses are answered earlier, in hello_django.middleware."""

from django.conf import settings
from django.conf.urls.static import static as media
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.urls import include, path
from django.views.decorators.cache import cache_control


@cache_control(max_age=86400)
def favicon(request: HttpRequest) -> HttpResponse:
    """What browsers ask for on pages that name no icon, such as the admin's."""
    return redirect(static("upload/icon.svg"))


urlpatterns = [
    path("", include("upload.urls")),
    path("admin/", admin.site.urls),
    path("favicon.ico", favicon),
]

# media() serves nothing unless DEBUG is on: in production nginx serves uploads.
urlpatterns += media(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
