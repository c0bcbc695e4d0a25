"""The site's own pages; nginx limits the rate of some of them."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from django.views.generic import DetailView

from upload import models, views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("pictures/<int:pk>/", DetailView.as_view(model=models.Picture), name="picture"),
    path("login/", LoginView.as_view(template_name="upload/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
