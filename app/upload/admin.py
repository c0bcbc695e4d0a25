"""Pictures in the admin: to search, to give a title, to delete with their files; they come in by the upload page."""

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from upload.models import Picture


@admin.register(Picture)
class PictureAdmin(admin.ModelAdmin):
    list_display = ("preview", "name", "title", "type", "width", "height", "size", "uploaded_at")
    list_editable = ("title",)
    list_filter = ("type", "uploaded_at")
    search_fields = ("name", "title", "file", "sha256")
    readonly_fields = ("preview", "name", "file", "type", "width", "height", "size", "sha256", "uploaded_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("preview"))
    def preview(self, picture: Picture) -> str:
        return format_html('<img src="{}" alt="{}" height="80">', picture.thumbnail.url, picture)
