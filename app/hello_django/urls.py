"""The site's addresses; the health addresses are answered earlier, in hello_django.middleware."""

from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("upload.urls")),
    path("admin/", admin.site.urls),
]

# static() serves nothing unless DEBUG is on: in production nginx serves uploads.
urlpatterns += static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT)
