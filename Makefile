# Every step of the tutorial and of a site's life; `make` alone prints them. Each target prints what it runs.
# Lines that start with #: are the help.
# Needs the programs in bin/, the compose files and their env files beside it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Several in one call are meant one after the other, whatever -j says.
.NOTPARALLEL:
PYTHON ?= python3
# Attestations hold the time of the build: with them, an unchanged image looks changed, and `up` replaces its container.
export BUILDX_NO_DEFAULT_ATTESTATIONS = 1
# What the development container writes into ./app belongs to you.
export DEV_USER ?= $(shell id -u):$(shell id -g)

dev_compose := docker compose --env-file .env.dev -f docker-compose.yml
prod_compose := docker compose --env-file .env.prod -f docker-compose.prod.yml
uwsgi_compose := docker compose --env-file .env.uwsgi -f docker-compose.uwsgi.yml

#: Without Docker
#:   run                     SQLite and the development server, http://localhost:8000 (PORT=...)
#:   test                    all tests; what needs Docker is left out where there is none (ARGS="-k upload")
#:   lint                    the linters alone
#:   lock                    pin app/requirements/*.in anew, with hashes
#:   screenshots             take the README's pictures of the page anew
.PHONY: help run test lint lock screenshots
help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

run:
	@PYTHON="$(PYTHON)" bin/run

test:
	@PYTHON="$(PYTHON)" bin/test $(ARGS)

lint:
	@PYTHON="$(PYTHON)" bin/test tests/config $(ARGS)

lock:
	@PYTHON="$(PYTHON)" bin/lock

screenshots:
	@PYTHON="$(PYTHON)" bin/venv .venv-test tests/requirements.txt
	PYTHONPATH=tests .venv-test/bin/python tests/screenshots.py docs/images

#: Start and stop (plain: development; -prod: Postgres and Gunicorn; -uwsgi: MySQL and uWSGI)
#:   up       up-prod       up-uwsgi        build, start, wait until it answers, print the address
#:   build    build-prod    build-uwsgi     build the images
#:   down     down-prod     down-uwsgi      stop and remove the containers; the data stays
#:   restart  restart-prod  restart-uwsgi   restart the containers
#:   destroy  destroy-prod  destroy-uwsgi   down, and delete the data; asks first (YES=1 answers)
#:   ps       ps-prod       ps-uwsgi        which containers run, and how they are
#:   logs     logs-prod     logs-uwsgi      follow the logs, or show one request's lines (REQUEST=id)
#: Django
#:   migrate  migrate-prod  migrate-uwsgi                      apply migrations
#:   collectstatic  collectstatic-prod  collectstatic-uwsgi    collect static files
#:   createsuperuser  createsuperuser-prod  createsuperuser-uwsgi    make an account for /admin/
#:   shell    shell-prod    shell-uwsgi     Python with Django
#:   manage   manage-prod   manage-uwsgi    any command: make manage-prod ARGS="check --deploy"
#:   flush    flush-prod    flush-uwsgi     delete every row, keep the tables; asks first (YES=1 answers)
#:   makemigrations          write migrations for changed models
#: Look inside
#:   dbshell  dbshell-prod  dbshell-uwsgi   the database's own shell, as the app's user
#:   redis-cli-uwsgi         the Redis shell
#:   tables   tables-prod   tables-uwsgi    list the tables
#:   volumes  volumes-prod  volumes-uwsgi   list the volumes
#:   bash     bash-prod     bash-uwsgi      a shell in the web container
#:   config   config-prod   config-uwsgi    the compose file with all variables filled in
#:   doctor                  engine, ports, disk, registry: what is wrong, and what to do
define stack
.PHONY: $(addsuffix $(2),build up down restart destroy ps logs migrate collectstatic createsuperuser shell manage \
  flush dbshell tables volumes bash config)
build$(2): engine
	@bin/mine $(1) containers
	$$($(1)_compose) build
up$(2): engine
	@bin/up $(1)
# Whatever TLS says by now: Compose leaves alone what belongs to a profile that is off.
down$(2) destroy$(2): export COMPOSE_PROFILES = *
down$(2): engine
	@bin/mine $(1) containers
	$$($(1)_compose) down
restart$(2): engine
	@bin/mine $(1) containers
	$$($(1)_compose) restart
destroy$(2): engine
	@bin/mine $(1)
	@bin/ask "This deletes the containers AND THE DATA (database, uploads) of $(1)."
	$$($(1)_compose) down --volumes
ps$(2): engine
	$$($(1)_compose) ps --all
logs$(2): engine
	@bin/logs $(1) "$$(REQUEST)"
migrate$(2): engine
	$$($(1)_compose) exec web python manage.py migrate --noinput
collectstatic$(2): engine
	$$($(1)_compose) exec web python manage.py collectstatic --noinput
createsuperuser$(2): engine
	$$($(1)_compose) exec web python manage.py createsuperuser
shell$(2): engine
	$$($(1)_compose) exec web python manage.py shell
manage$(2): engine
	$$($(1)_compose) exec web python manage.py $$(ARGS)
flush$(2): engine
	@bin/mine $(1)
	@bin/ask "This deletes every row of every table of $(1), accounts included."
	$$($(1)_compose) exec web python manage.py flush --noinput
dbshell$(2): engine
	$$($(1)_compose) exec db $$($(1)_sql)
tables$(2): engine
	$$($(1)_compose) exec db $$($(1)_sql_tables)
volumes$(2): engine
	@name=$$$$($$($(1)_compose) config --format json | sed -n 's/^  "name": "\(.*\)",*/\1/p') && set -x && \
	docker volume ls --filter "label=com.docker.compose.project=$$$$name"
bash$(2): engine
	$$($(1)_compose) exec web bash
config$(2): engine
	$$($(1)_compose) config
endef
$(eval $(call stack,dev,))
$(eval $(call stack,prod,-prod))
$(eval $(call stack,uwsgi,-uwsgi))

dev_sql := psql --username=hello_django --dbname=hello_django_dev
dev_sql_tables := $(dev_sql) --command '\dt'
prod_sql := sh -c 'psql --username="$$APP_USER" --dbname="$$POSTGRES_DB"'
prod_sql_tables := sh -c 'psql --username="$$APP_USER" --dbname="$$POSTGRES_DB" --command "\\dt"'
uwsgi_sql := sh -c 'MYSQL_PWD=$$(cat /run/secrets/db_password) mysql --user="$$MYSQL_USER" "$$MYSQL_DATABASE"'
uwsgi_sql_tables := sh -c 'MYSQL_PWD=$$(cat /run/secrets/db_password) mysql --user="$$MYSQL_USER" "$$MYSQL_DATABASE" --execute "SHOW TABLES"'

.PHONY: makemigrations redis-cli-uwsgi doctor
makemigrations: engine
	$(dev_compose) exec web python manage.py makemigrations
redis-cli-uwsgi: engine
	$(uwsgi_compose) exec redis sh -c 'REDISCLI_AUTH=$$(cat /run/secrets/redis_password) redis-cli'
doctor:
	@bin/doctor

#: Operate
#:   secrets                 make the missing passwords and keys in secrets/
#:   certs                   a local authority and certificates for TLS=local; how to trust them
#:   deploy-prod    deploy-uwsgi     build and replace the running version, without losing a request
#:   rollback-prod  rollback-uwsgi   put the version before that back, the same way
#:   scale-prod     scale-uwsgi      run N containers of web: make scale-prod N=3
#:   backup-prod    backup-uwsgi     database and uploads in one file in backups/ (KEEP=7 deletes older ones)
#:   backups-prod   backups-uwsgi    list them
#:   verify-backup-prod  verify-backup-uwsgi    prove one by restoring it beside the site: FROM=backups/...
#:   restore-prod   restore-uwsgi    go back to one: FROM=backups/...; asks first (YES=1 answers)
.PHONY: backup-prod backup-uwsgi backups-prod backups-uwsgi verify-backup-prod verify-backup-uwsgi restore-prod \
  restore-uwsgi
.PHONY: secrets deploy-prod deploy-uwsgi rollback-prod rollback-uwsgi scale-prod scale-uwsgi
secrets:
	@bin/secrets dev prod uwsgi
.PHONY: certs
certs: engine
	@bin/certs
deploy-prod deploy-uwsgi: deploy-%: engine
	@bin/deploy $*
rollback-prod rollback-uwsgi: rollback-%: engine
	@bin/rollback $*
scale-prod scale-uwsgi: scale-%: engine
	@bin/scale $* "$(N)"

backup-prod backup-uwsgi: backup-%: engine
	@KEEP="$(KEEP)" bin/backup $*
backups-prod backups-uwsgi: backups-%: engine
	@bin/backups $*
verify-backup-prod verify-backup-uwsgi: verify-backup-%: engine
	@FROM="$(FROM)" bin/verify-backup $*
restore-prod restore-uwsgi: restore-%: engine
	@FROM="$(FROM)" bin/restore $*

#: Tutorial
#:   tutorial                walk through docs/tutorial: TRACK=gunicorn or uwsgi; PAGE=07, LANGUAGE=zh, YES=1
#:   standalone              one container with SQLite, http://localhost:8006
#:   standalone-down         remove it
#:   lint-image              the linters of what images are made from: Dockerfiles, Python, shell
#:   upload   upload-prod   upload-uwsgi    send a picture as a program does: FILE=docs/images/phone.png
#:   nginx-test-uwsgi        nginx reads its configuration, and says whether it can be used
#:   start-uwsgi             one service and what it needs, until it is healthy: make start-uwsgi SERVICE=db
#:   init-uwsgi              migrate and collect static files; or another command before web runs: ARGS=check
.PHONY: tutorial standalone standalone-down
tutorial:
	@PYTHON="$(PYTHON)" bin/tutorial "$(TRACK)"
standalone: engine
	@bin/standalone
standalone-down: engine
	docker rm --force $${STANDALONE_NAME:-hello_django-standalone}
.PHONY: lint-image upload upload-prod upload-uwsgi
lint-image:
	@PYTHON="$(PYTHON)" bin/test tests/config/test_linters.py -k "hadolint or ruff or shellcheck"
upload:
	@bin/upload dev "$(FILE)"
upload-prod upload-uwsgi: upload-%:
	@bin/upload $* "$(FILE)"
.PHONY: nginx-test-uwsgi start-uwsgi init-uwsgi
nginx-test-uwsgi: engine
	$(uwsgi_compose) run --rm --no-deps nginx nginx -t -c /tmp/nginx/nginx.conf
start-uwsgi: engine
	@[ -n "$(SERVICE)" ] || { echo "start-uwsgi: which service? write: make start-uwsgi SERVICE=db" >&2; exit 1; }
	@bin/mine uwsgi
	@bin/secrets uwsgi
	$(uwsgi_compose) up --detach --wait $(SERVICE)
init-uwsgi: engine
	@bin/mine uwsgi
	@bin/secrets uwsgi
	$(uwsgi_compose) run --rm init python manage.py $(or $(ARGS),init)

#: Steps of TRACK=gunicorn: run, install-docker, build, up, ps, migrate, tables, dbshell, volumes, flush, standalone,
#: standalone-down, down, up-prod, ps-prod, secrets, build-prod, lint-image, bash-prod, collectstatic-prod,
#: createsuperuser-prod, manage-prod, upload, upload-prod, volumes-prod, deploy-prod, rollback-prod, scale-prod,
#: backup-prod, backups-prod, verify-backup-prod, flush-prod, restore-prod, destroy, destroy-prod
#: Steps of TRACK=uwsgi: install-docker, base-images, doctor, config-uwsgi, secrets, build-uwsgi, nginx-test-uwsgi,
#: start-uwsgi, dbshell-uwsgi, redis-cli-uwsgi, init-uwsgi, tables-uwsgi, up-uwsgi, ps-uwsgi, logs-uwsgi,
#: createsuperuser-uwsgi, upload-uwsgi, volumes-uwsgi, deploy-uwsgi, rollback-uwsgi, scale-uwsgi, backup-uwsgi,
#: backups-uwsgi, verify-backup-uwsgi, flush-uwsgi, restore-uwsgi, manage-uwsgi, bash-uwsgi, down-uwsgi, destroy-uwsgi
#: Your own project
#:   adopt                   bring the stacks to it: make adopt DEST=../mysite (DRY_RUN=1 shows it, UNDO=1 takes it back)
.PHONY: adopt
adopt:
	@PYTHON="$(PYTHON)" bin/adopt

#: Machine
#:   install-docker          Docker Engine and Compose on Debian or Ubuntu; starts the engine
#:   base-images             the base images from Debian packages, where no registry can be reached
#:   bench                   how fast both stacks are here, against the tutorials' settings; QUICK=1: in 3 minutes
.PHONY: install-docker base-images bench engine
install-docker:
	@bin/install-docker
base-images: engine
	@bin/base-images
bench: engine
	@QUICK="$(QUICK)" PYTHON="$(PYTHON)" bin/bench
engine:
	@bin/need-engine
