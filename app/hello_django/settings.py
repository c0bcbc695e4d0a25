"""Settings of the project, read from the environment; the env files at the top level document each variable.

With no environment at all this is a development server on SQLite. Reference:
https://docs.djangoproject.com/en/5.2/ref/settings/
"""

import os
import re
from pathlib import Path

from hello_django import env

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Core ---------------------------------------------------------------------------------------

# Whoever sets a SECRET_KEY runs it for others: only a checkout without one is in debug mode by default.
DEBUG = env.boolean("DEBUG", default=not (os.environ.get("SECRET_KEY") or os.environ.get("SECRET_KEY_FILE")))

SECRET_KEY = env.secret("SECRET_KEY")
if DEBUG:
    SECRET_KEY = SECRET_KEY or "django-insecure-for-development-only"
# The measure of Django's own check security.W009: long, varied, and not startproject's marked one.
elif len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or SECRET_KEY.startswith("django-insecure-"):
    what = "is too short or a placeholder" if SECRET_KEY else "is missing"
    env.fail(
        f"SECRET_KEY {what}, and DEBUG is off; `make secrets` makes one, or: "
        "python3 -c 'import secrets; print(secrets.token_urlsafe(50))'"
    )

ALLOWED_HOSTS = env.words("DJANGO_ALLOWED_HOSTS", "localhost 127.0.0.1 [::1]")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
# Django compares both as they are: with a comma, a path or, in a host, a port they would silently never match.
for host in ALLOWED_HOSTS:
    if not re.fullmatch(r"[^:/,*\[\]]+|\[[0-9a-fA-F:.]+\]|\*", host):
        env.fail(
            f"DJANGO_ALLOWED_HOSTS has {host!r}; write bare host names, spaces between: example.com [::1]; "
            ".example.com is that name and all below it"
        )
for origin in CSRF_TRUSTED_ORIGINS:
    if not re.fullmatch(r"https?://[^/,]+", origin):
        env.fail(f"CSRF_TRUSTED_ORIGINS has {origin!r}; write scheme and host, spaces between: https://example.com")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "hello_django",
    "upload",
]

MIDDLEWARE = [
    "hello_django.middleware.RequestIDMiddleware",
    # Before everything that looks at the Host header, which a health request need not have right.
    "hello_django.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "hello_django.middleware.ContentSecurityPolicyMiddleware",
    # Pages are compressed here, not in nginx: this middleware pads them at random, which is what stops BREACH.
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "hello_django.middleware.UnavailableMiddleware",
]

ROOT_URLCONF = "hello_django.urls"
WSGI_APPLICATION = "hello_django.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database -----------------------------------------------------------------------------------

ENGINES = {
    "django.db.backends.sqlite3": {
        # Writers queue up instead of failing with "database is locked" when several upload at once.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    },
    "django.db.backends.postgresql": {
        "PORT": 5432,
        # A peer that vanished without a word is given up after 10 s, not after the kernel's 15 minutes.
        "OPTIONS": {"connect_timeout": 5, "tcp_user_timeout": 10_000},
    },
    "django.db.backends.mysql": {
        "PORT": 3306,
        # Django's documentation recommends this level for MySQL: its default loses rows in get_or_create().
        "OPTIONS": {"charset": "utf8mb4", "isolation_level": "read committed", "connect_timeout": 5},
    },
}
engine = env.choice("SQL_ENGINE", "django.db.backends.sqlite3", ENGINES)
DATABASES = {"default": {"ENGINE": engine, **ENGINES[engine]}}
if engine.endswith("sqlite3"):
    DATABASES["default"]["NAME"] = env.text("SQL_DATABASE", str(BASE_DIR / "db.sqlite3"))
else:
    DATABASES["default"] |= {
        "NAME": env.text("SQL_DATABASE", "hello_django"),
        "USER": env.text("SQL_USER", "hello_django"),
        "PASSWORD": env.secret("SQL_PASSWORD"),
        "HOST": env.text("SQL_HOST", "db"),
        "PORT": env.integer("SQL_PORT", ENGINES[engine]["PORT"], least=1, most=65535),
        # A connection a thread, kept and tested before its next request; it follows a restarted database.
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Cache and sessions -------------------------------------------------------------------------

REDIS_URL = env.text("REDIS_URL")
if REDIS_URL and not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    # Not printed: people write passwords into it.
    env.fail("REDIS_URL is no Redis address; write redis://HOST:6379/0")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "PASSWORD": env.secret("REDIS_PASSWORD"),
            "SOCKET_CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": 1,
            # The site goes on without Redis; the pool logs that once.
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_CLASS": "hello_django.cache.PatientConnectionPool",
        },
    }
    # Read from Redis, written to the database as well: nobody is signed out when Redis restarts or is lost.
    SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# --- Files --------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_URL = "/media/"
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(BASE_DIR / "mediafiles")))
# Uploads arrive on the disk where they stay: keeping one is a rename, and memory is not spent on a tmpfs.
FILE_UPLOAD_TEMP_DIR = MEDIA_ROOT / ".incoming"
FILE_UPLOAD_PERMISSIONS = 0o644
# It makes that folder when it is first needed; the upload page has one of its own.
FILE_UPLOAD_HANDLERS = ["upload.handlers.FolderUploadHandler"]
STORAGES = {
    "default": {"BACKEND": "hello_django.storage.UploadStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "hello_django.storage.CompressedManifestStorage",
    },
}

# --- The upload page ----------------------------------------------------------------------------

MAX_UPLOAD_MB = env.integer("MAX_UPLOAD_MB", 25, least=1, most=1024)
UPLOAD_REQUIRES_LOGIN = env.boolean("UPLOAD_REQUIRES_LOGIN", default=False)

# --- Accounts and languages ---------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "upload"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = "UTC"
USE_TZ = True

# --- Security -----------------------------------------------------------------------------------

CSRF_FAILURE_VIEW = "upload.views.csrf_failure"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"

# FILE_UPLOAD_TEMP_DIR is made by init and by uploads, where the disk can be written to.
SILENCED_SYSTEM_CHECKS = ["files.E001"]
TLS = env.choice("TLS", "off", ("off", "local", "files", "acme"))
HSTS_SECONDS = env.integer("HSTS_SECONDS", 60, least=0, most=63_072_000)
if TLS != "off":
    # Set by nginx for each request, whatever the client sent: nobody but nginx reaches this server.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = HSTS_SECONDS
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # "preload" would allow anybody to put the name on the browsers' list, from which it takes months to get off.
    SILENCED_SYSTEM_CHECKS += ["security.W021"]
elif not env.words("TRUSTED_PROXIES"):
    # What plain HTTP leaves open, by name: they need HTTPS, and would lock everybody out without it. Behind a proxy,
    # which may have it, the check names them.
    SILENCED_SYSTEM_CHECKS += [
        "security.W004",  # no HSTS
        "security.W008",  # no redirect to HTTPS
        "security.W012",  # session cookie not marked secure
        "security.W016",  # CSRF cookie not marked secure
    ]

# --- Logs ---------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "hello_django.middleware.RequestIDFilter"},
        "not_health": {"()": "hello_django.middleware.NotHealthFilter"},
    },
    "formatters": {
        "line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["request_id", "not_health"],
        },
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    # Without this, Django's own handlers would mail admins and print debug lines a second time.
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}},
}
