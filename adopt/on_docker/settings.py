"""Your settings, with what the stacks decide laid over them: the environment, database, cache, files, proxy, logs.

Needs the other modules of this package, Django 4.2 or newer, and BASE_SETTINGS, which names your settings module.
Your own file is imported, never changed; what is not named here stays as you have it.
"""

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import django

from on_docker import env

# The folder of manage.py: both images set it.
APP_HOME = Path(env.text("APP_HOME", str(Path.cwd())))
DEBUG = env.boolean("DEBUG", default=False)

SECRET_KEY = env.secret("SECRET_KEY")
# The measure of Django's own check security.W009: long, varied, and not startproject's marked one.
if not DEBUG and (len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5 or SECRET_KEY.startswith("django-insecure-")):
    what = "is too short or a placeholder" if SECRET_KEY else "is missing"
    env.fail(f"SECRET_KEY {what}, and DEBUG is off; `make secrets` makes one")

# --- Database -----------------------------------------------------------------------------------

ENGINES: dict[str, dict[str, Any]] = {
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
engine = env.choice("SQL_ENGINE", "django.db.backends.postgresql", ENGINES)
database = {
    "ENGINE": engine,
    "OPTIONS": ENGINES[engine]["OPTIONS"],
    "NAME": env.text("SQL_DATABASE", "site"),
    "USER": env.text("SQL_USER", "site"),
    "PASSWORD": env.secret("SQL_PASSWORD"),
    "HOST": env.text("SQL_HOST", "db"),
    "PORT": env.integer("SQL_PORT", ENGINES[engine]["PORT"], least=1, most=65535),
    # A connection a thread, kept and tested before its next request; it follows a restarted database.
    "CONN_MAX_AGE": 600,
    "CONN_HEALTH_CHECKS": True,
}

# --- Yours --------------------------------------------------------------------------------------

# For settings that read these from the environment, as many do, and stop without them. In development any key will do.
for name in ("SECRET_KEY", "DJANGO_SECRET_KEY"):
    os.environ[name] = os.environ.get(name) or SECRET_KEY or "django-insecure-for-development-only"
scheme = {"postgresql": "postgres"}.get(engine.rpartition(".")[2], engine.rpartition(".")[2])
os.environ.setdefault("DATABASE_URL", "{}://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(scheme, **database))

# Read before yours, which may load an .env file that means something else by them. What is listed may have commas, as
# your own reading of it may want.
STACK_REDIS_URL = env.text("REDIS_URL")
origins = [origin for origin in re.split(r"[\s,]+", env.text("CSRF_TRUSTED_ORIGINS")) if origin]

BASE_SETTINGS = env.text("BASE_SETTINGS")
if not BASE_SETTINGS:
    env.fail("BASE_SETTINGS is missing; it names your settings module: BASE_SETTINGS=mysite.settings")
ours = os.environ.get("DJANGO_SETTINGS_MODULE", __name__)
# What asks for settings while yours are being imported, such as Celery's module, gets yours as it did before.
os.environ["DJANGO_SETTINGS_MODULE"] = BASE_SETTINGS
try:
    theirs = importlib.import_module(BASE_SETTINGS)
except Exception as error:
    # With DEBUG the whole traceback, because somebody is at work on it.
    if DEBUG:
        raise
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    sys.exit(
        f"settings: BASE_SETTINGS={BASE_SETTINGS!r} cannot be imported: {reason}; "
        "a variable that it reads goes into the env file, a package into your requirements"
    )
finally:
    os.environ["DJANGO_SETTINGS_MODULE"] = ours
yours: dict[str, Any] = {name: getattr(theirs, name) for name in dir(theirs) if name.isupper()}
# In development your own key will do.
SECRET_KEY = SECRET_KEY or yours.get("SECRET_KEY", "")
laid_over = {"APP_HOME": APP_HOME, "BASE_SETTINGS": BASE_SETTINGS, "DEBUG": DEBUG, "SECRET_KEY": SECRET_KEY}
globals().update(yours | laid_over)

# Other databases stay as they are, and so does what your code relies on in this one.
kept = ("ATOMIC_REQUESTS", "AUTOCOMMIT", "DISABLE_SERVER_SIDE_CURSORS", "TEST", "TIME_ZONE")
others = yours.get("DATABASES", {})
mine = {name: value for name, value in others.get("default", {}).items() if name in kept}
DATABASES = {**others, "default": {**mine, **database}}

# --- Who asks -----------------------------------------------------------------------------------

# From the environment alone, because nginx and the certificate read the same line.
ALLOWED_HOSTS = env.words("DJANGO_ALLOWED_HOSTS", "localhost 127.0.0.1 [::1]")
for host in ALLOWED_HOSTS:
    if not re.fullmatch(r"[^:/,*\[\]]+|\[[0-9a-fA-F:.]+\]|\*", host):
        env.fail(
            f"DJANGO_ALLOWED_HOSTS has {host!r}; write bare host names, spaces between: example.com [::1]; "
            ".example.com is that name and all below it"
        )
# Without the empty one that splitting an empty variable makes, and Django refuses.
CSRF_TRUSTED_ORIGINS = list(dict.fromkeys([*filter(None, yours.get("CSRF_TRUSTED_ORIGINS", ())), *origins]))
for origin in origins:
    if not re.fullmatch(r"https?://[^/,]+", origin):
        env.fail(f"CSRF_TRUSTED_ORIGINS has {origin!r}; write scheme and host, spaces between: https://example.com")

# --- Apps and middleware ------------------------------------------------------------------------

# First, so that the commands which the stacks start are found before others of the same name.
INSTALLED_APPS = ["on_docker", *yours.get("INSTALLED_APPS", ())]
if not any(name.startswith("django.contrib.staticfiles") for name in INSTALLED_APPS):
    INSTALLED_APPS.append("django.contrib.staticfiles")
MIDDLEWARE = [
    "on_docker.middleware.RequestIDMiddleware",
    # Before everything that looks at the Host header, which a health request need not have right.
    "on_docker.middleware.HealthMiddleware",
    *yours.get("MIDDLEWARE", ()),
    "on_docker.middleware.UnavailableMiddleware",
]

# --- Cache and sessions -------------------------------------------------------------------------

if STACK_REDIS_URL and not STACK_REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    # Not printed: people write passwords into it.
    env.fail("REDIS_URL is no Redis address; write redis://HOST:6379/0")
if STACK_REDIS_URL:
    CACHES = {
        **yours.get("CACHES", {}),
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": STACK_REDIS_URL,
            "OPTIONS": {
                "PASSWORD": env.secret("REDIS_PASSWORD"),
                "SOCKET_CONNECT_TIMEOUT": 1,
                "SOCKET_TIMEOUT": 1,
                # The site goes on without Redis; the pool logs that once.
                "IGNORE_EXCEPTIONS": True,
                "CONNECTION_POOL_CLASS": "on_docker.cache.PatientConnectionPool",
            },
        },
    }
    if yours.get("SESSION_ENGINE", "django.contrib.sessions.backends.db") == "django.contrib.sessions.backends.db":
        # Read from Redis, written to the database as well: nobody is signed out when Redis restarts or is lost.
        SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# --- Files: in development they stay as you have them ---------------------------------------------

# For your own forms; nginx refuses what is larger.
MAX_UPLOAD_MB = env.integer("MAX_UPLOAD_MB", 25, least=1, most=1024)
if not DEBUG:
    # nginx.conf has the same addresses.
    STATIC_URL = "/static/"
    MEDIA_URL = "/media/"
    # Where the volumes are.
    STATIC_ROOT = Path("/home/app/staticfiles")
    MEDIA_ROOT = Path(env.text("MEDIA_ROOT", "/home/app/mediafiles"))
    # Uploads arrive on the disk where they stay: /tmp is small, and in memory. init makes the folder.
    FILE_UPLOAD_TEMP_DIR = MEDIA_ROOT / ".incoming"
    # Readable for nginx, which is another user.
    FILE_UPLOAD_PERMISSIONS = 0o644
    FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o755
    STORAGES = {**yours.get("STORAGES", {})}
    # What keeps files elsewhere, such as on S3, stays; what keeps them on this disk gives way to these.
    for name, old, local, backend in (
        ("default", "DEFAULT_FILE_STORAGE", "django.core.files.storage.", "on_docker.storage.UploadStorage"),
        (
            "staticfiles",
            "STATICFILES_STORAGE",
            ("django.contrib.staticfiles.", "whitenoise."),
            "on_docker.static.PatientManifestStorage",
        ),
    ):
        # Django before 5.1 has each under two names, and refuses to be given both.
        before = globals().pop(old, None) if django.VERSION < (5, 1) else None
        theirs_here = STORAGES.get(name, {}).get("BACKEND") or before
        if not theirs_here or theirs_here.startswith(local):
            STORAGES[name] = {"BACKEND": backend}
        elif name not in STORAGES:
            STORAGES[name] = {"BACKEND": theirs_here}

# --- HTTPS --------------------------------------------------------------------------------------

TLS = env.choice("TLS", "off", ("off", "local", "files", "acme"))
# Set by nginx for each request, whatever the client sent: nobody but nginx reaches this server.
SECURE_PROXY_SSL_HEADER = None if DEBUG else ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    *yours.get("SILENCED_SYSTEM_CHECKS", ()),
    "files.E001",  # FILE_UPLOAD_TEMP_DIR, which init makes
]
if TLS != "off":
    SECURE_SSL_REDIRECT = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = env.integer("HSTS_SECONDS", 60, least=0, most=63_072_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # "preload" would allow anybody to put the name on the browsers' list, from which it takes months to get off.
    SILENCED_SYSTEM_CHECKS += ["security.W021"]
elif not env.words("TRUSTED_PROXIES"):
    # Plain HTTP: what needs HTTPS would lock everybody out, also where your settings ask for it.
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = False
    SECURE_HSTS_SECONDS = 0
    # By these names browsers take secure cookies alone.
    for name in ("SESSION_COOKIE_NAME", "CSRF_COOKIE_NAME", "LANGUAGE_COOKIE_NAME"):
        if name in yours:
            globals()[name] = re.sub("^__(Secure|Host)-", "", yours[name])
    SILENCED_SYSTEM_CHECKS += [
        "security.W004",  # no HSTS
        "security.W008",  # no redirect to HTTPS
        "security.W012",  # session cookie not marked secure
        "security.W016",  # CSRF cookie not marked secure
    ]

# --- Logs: to standard output, where Docker rotates them; the disk cannot be written to ---------------

# As deep as it is changed below; a stream in it cannot be copied.
LOGGING: dict[str, Any] = {
    name: dict(part) if isinstance(part, dict) else part for name, part in (yours.get("LOGGING") or {}).items()
}
LOGGING |= {"version": 1, "disable_existing_loggers": LOGGING.get("disable_existing_loggers", False)}
for name, handler in LOGGING.get("handlers", {}).items():
    if "filename" in handler and not DEBUG:
        same = {key: value for key, value in handler.items() if key in ("level", "formatter", "filters")}
        LOGGING["handlers"][name] = {"class": "logging.StreamHandler", **same}
for part, ours in {
    "filters": {
        "on_docker_request_id": {"()": "on_docker.middleware.RequestIDFilter"},
        "on_docker_not_health": {"()": "on_docker.middleware.NotHealthFilter"},
    },
    "formatters": {
        "on_docker": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
    },
    "handlers": {
        "on_docker": {
            "class": "logging.StreamHandler",
            "formatter": "on_docker",
            "filters": ["on_docker_request_id", "on_docker_not_health"],
        },
    },
}.items():
    LOGGING[part] = {**LOGGING.get(part, {}), **ours}
if "loggers" not in LOGGING:
    # Without this, Django's own handlers would mail admins and print debug lines a second time.
    LOGGING["loggers"] = {"django": {"handlers": [], "level": "INFO", "propagate": True}}
LOGGING.setdefault("root", {"handlers": ["on_docker"], "level": "INFO"})
