"""The site's addresses; the health addresses are answered earlier, in hello_django.middleware."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.decorators.cache import cache_control


@cache_control(max_age=86400)
def favicon(request: HttpRequest) -> HttpResponse:
    """What browsers ask for on pages that name no icon, such as the admin's."""
    return redirect(staticfiles_storage.url("upload/icon.svg"))


urlpatterns = [
    path("", include("upload.urls")),
    path("admin/", admin.site.urls),
    path("favicon.ico", favicon),
]

# static() serves nothing unless DEBUG is on: in production nginx serves uploads.
urlpatterns += static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
