"""What was uploaded."""

from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext_lazy as _

FACTS = ("name", "size", "width", "height", "type", "sha256")


class PictureManager(models.Manager["Picture"]):
    """Keeps files and rows together."""

    def keep(self, content: File, thumbnail: bytes, name: str, **fields: Any) -> "Picture":
        """Store a file and its thumbnail, under this name or one that is made unique, and return their row.

        Raises OSError and DatabaseError, and then nothing is left of the three.
        """
        stem, extension = Path(name).stem, Path(name).suffix
        path = name
        while True:
            # Files without a row are in the way as well.
            if not default_storage.exists(path):
                try:
                    return self._keep_as(path, content, ContentFile(thumbnail), name=name, **fields)
                except IntegrityError:
                    if not self.filter(file=path).exists():
                        raise
            path = f"{stem}_{get_random_string(7)}{extension}"

    def _keep_as(self, path: str, content: File, thumbnail: File, **fields: Any) -> "Picture":
        stored: list[str] = []
        try:
            # The row comes first, uncommitted: its unique name is what nobody else can take meanwhile, on any storage.
            with transaction.atomic():
                picture = self.create(file=path, thumbnail=f"thumbs/{path}.webp", **fields)
                for field, data in ((picture.file, content), (picture.thumbnail, thumbnail)):
                    stored.append(field.name)
                    field.name = stored[-1] = default_storage.save(field.name, data)
                picture.save()
        except BaseException:
            for leftover in stored:
                default_storage.delete(leftover)
            raise
        return picture


class Picture(models.Model):
    """One picture, with a file and a thumbnail that are nobody else's."""

    name = models.CharField(_("file name"), max_length=255, editable=False)
    title = models.CharField(_("title"), max_length=200, blank=True, help_text=_("Read out in place of the picture."))
    file = models.FileField(_("file"), max_length=255, unique=True, editable=False)
    thumbnail = models.FileField(_("thumbnail"), max_length=255, unique=True, editable=False)
    type = models.CharField(_("type"), max_length=40, editable=False)
    size = models.PositiveBigIntegerField(_("size"), editable=False)
    width = models.PositiveIntegerField(_("width"), editable=False)
    height = models.PositiveIntegerField(_("height"), editable=False)
    sha256 = models.CharField("SHA-256", max_length=64, db_index=True, editable=False)
    uploaded_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True, db_index=True)

    objects = PictureManager()

    class Meta:
        ordering = ("-id",)
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")

    def __str__(self) -> str:
        return self.title or self.name

    def get_absolute_url(self) -> str:
        return reverse("picture", args=[self.pk])

    def facts(self) -> dict[str, Any]:
        """Return what programs are told."""
        urls = {"url": self.file.url, "thumbnail_url": self.thumbnail.url, "page_url": self.get_absolute_url()}
        return {name: getattr(self, name) for name in FACTS} | urls | {"uploaded_at": self.uploaded_at.isoformat()}


@receiver(post_delete, sender=Picture)
def delete_files(instance: Picture, **kwargs: Any) -> None:
    """Delete a deleted row's files after the commit: a row that a rollback brings back still needs them."""

    def delete() -> None:
        # The name may have been given out again meanwhile.
        if not Picture.objects.filter(file=instance.file.name).exists():
            for name in filter(None, (instance.file.name, instance.thumbnail.name)):
                default_storage.delete(name)

    transaction.on_commit(delete, robust=True)
