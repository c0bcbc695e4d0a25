"""What was uploaded."""

from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db import IntegrityError, models, transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext_lazy as _


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

    class Meta:
        ordering = ("-id",)
        verbose_name = _("picture")
        verbose_name_plural = _("pictures")

    def __str__(self) -> str:
        return self.title or self.name

    def get_absolute_url(self) -> str:
        return reverse("picture", args=[self.pk])

    @classmethod
    def keep(cls, content: File, thumbnail: bytes, name: str, **fields: object) -> "Picture":
        """Store a file, its thumbnail and their row, or none of them. Raises OSError and DatabaseError."""
        (stem, _dot, suffix), path, stored = name.rpartition("."), name, []
        while default_storage.exists(path) or cls.objects.filter(file=path).exists():
            path = f"{stem}_{get_random_string(7)}.{suffix}"
        try:
            # The row comes first, uncommitted: its unique name is what nobody else can take meanwhile, on any storage.
            with transaction.atomic():
                picture = cls.objects.create(name=name, file=path, thumbnail=f"thumbs/{path}.webp", **fields)
                for field, data in ((picture.file, content), (picture.thumbnail, ContentFile(thumbnail))):
                    stored.append(field.name)
                    field.name = stored[-1] = default_storage.save(field.name, data)
                picture.save()
            return picture
        except BaseException as error:
            for leftover in stored:
                default_storage.delete(leftover)
            if isinstance(error, IntegrityError) and not stored and cls.objects.filter(file=path).exists():
                return cls.keep(content, thumbnail, name, **fields)
            raise

    def facts(self) -> dict[str, object]:
        """Return what programs are told."""
        keys = ("name", "size", "width", "height", "type", "sha256", "uploaded_at")
        urls = {"url": self.file.url, "thumbnail_url": self.thumbnail.url, "page_url": self.get_absolute_url()}
        return {key: getattr(self, key) for key in keys} | urls


@receiver(post_delete, sender=Picture)
def delete_files(instance: Picture, **kwargs: object) -> None:
    """Delete a deleted row's files after the commit: a row that a rollback brings back still needs them."""
    names = instance.file.name, instance.thumbnail.name

    def delete() -> None:
        if not Picture.objects.filter(file=names[0]).exists():  # the name may have been given out again
            for name in filter(None, names):
                default_storage.delete(name)

    transaction.on_commit(delete, robust=True)
