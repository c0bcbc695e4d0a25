"""The site's own pages."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from upload import views

sign_in = LoginView.as_view(template_name="upload/login.html", redirect_authenticated_user=True)
urlpatterns = [
    path("", views.upload, name="upload"),
    path("pictures/<int:pk>/", views.picture, name="picture"),
    # nginx limits the rate of this address.
    path("login/", sign_in, name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
