"""The two production stacks that the long tests deploy to, back up and break: one each, in a tree of its own."""

import re
import shutil
from pathlib import Path

from bench import LABEL, Stack, run, wait_for
from load import Load, mixed

# An endless program that reads nothing and listens to nothing.
IDLE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done")
_stacks: dict[str, Stack] = {}


def lasting_stack(kind: str, make_stack) -> Stack:
    """Return the stack of this kind for long tests, started at the first call, and answering."""
    if kind not in _stacks:
        stack = make_stack(kind, "long", own_tree=True)
        app = stack.folder / "app/hello_django"
        shutil.copy(Path(__file__).parent / "stack/pages.py", app / "pages.py")
        with (app / "urls.py").open("a") as urls:
            urls.write(
                "\nfrom hello_django.pages import pages\nfrom hello_django.version import version\n"
                '\nurlpatterns += [*pages, path("version/", version)]\n'
            )
        set_version(stack, "first")
        stack.set(UPLOAD_RATE="off", MAX_UPLOAD_MB="64")
        try:
            small_static_disk(stack)
            stack.make(f"up{stack.suffix}")
            stack.upload().raise_for_status()
        except BaseException:
            # The next test begins anew.
            stack.remove()
            raise
        _stacks[kind] = stack
    stack = _stacks[kind]
    wait_for(stack.answers, 60, f"{kind} answers")
    return stack


def remove_lasting_stacks() -> None:
    """Remove them, as soon as no test is left that uses them: Docker has addresses for some 30 networks only."""
    while _stacks:
        _stacks.popitem()[1].remove()


def small_static_disk(stack: Stack) -> None:
    """Give the static files a disk of 32 MB that can really be full: a tmpfs, which lives as long as it is mounted."""
    volume = f"{stack.project}_static_vol"
    labels = [f"--label={LABEL}={stack.project}", "--label=com.docker.compose.volume=static_vol"]
    options = ["--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=32m,uid=1000,gid=1000"]
    run("docker", "volume", "create", *labels, *options, volume)
    name = f"{stack.project}-keeper"
    label = f"--label={LABEL}={stack.project}"
    image = run("docker", "image", "ls", "--quiet", "nginx").stdout.split()[0]
    run(
        "docker",
        "run",
        "--detach",
        "--name",
        name,
        label,
        "-v",
        f"{volume}:/x",
        "--entrypoint",
        IDLE[0],
        image,
        *IDLE[1:],
    )


def set_version(stack: Stack, version: str) -> None:
    """Change one line of the code: what /version/ answers."""
    (stack.folder / "app/hello_django/version.py").write_text(
        "from django.http import HttpRequest, HttpResponse\n\n\n"
        f'def version(request: HttpRequest) -> HttpResponse:\n    return HttpResponse("{version}")\n'
    )


def version(stack: Stack) -> str:
    """Return the version that is served."""
    return stack.get("/version/").text


def paths(stack: Stack) -> tuple[str, str]:
    """Return the paths of the stylesheet and of a picture that the front page names."""
    page = stack.get("/").text
    css = re.search(r'href="(/static/[^"]+\.css)"', page)
    picture = re.search(r'href="(/pictures/\d+/)"', page)
    assert css, page
    assert picture, page
    file = re.search(r'"(/media/(?!thumbs)[^"]+)"', stack.get(picture[1]).text)
    assert file
    return css[1], file[1]


def heavy_load(stack: Stack, seconds: float = 420) -> Load:
    """Return the mixed load that deploys have to bear: some 500 requests a second, one of them an upload of 1 MB."""
    return Load(stack.url, mixed(*paths(stack)), seconds=seconds, uploads=1)


def light_load(stack: Stack, seconds: float = 240, timeout: float = 60, uploads: float = 1) -> Load:
    """Return a load that leaves the machine time for other things: pages, a static file, a picture, uploads."""
    css, picture = paths(stack)
    few = {"page": ("/", 16), "login": ("/login/", 8), "static": (css, 16), "media": (picture, 16)}
    return Load(stack.url, few, seconds=seconds, uploads=uploads, timeout=timeout)
