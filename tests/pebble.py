"""Pebble as the certificate authority of a stack: Let's Encrypt's own test server, with keys that nobody else has."""

import json
from pathlib import Path

import requests

import certificates
from bench import LABEL, PREFIX, ROOT, Stack, free_port, run, wait_for

IMAGE = f"{PREFIX}-pebble"


class Pebble:
    """An authority that certbot reaches by name in acme_network, and that asks the stack back on its published port."""

    # The name that it gives no certificate for.
    REFUSED = "refused.example"

    def __init__(self, stack: Stack, folder: Path, *names: str) -> None:
        self.stack = stack
        self.folder = folder
        self.names = names
        self.alias = "pebble"
        self.port = free_port()
        self.container = f"{stack.project}-pebble"
        authority = certificates.make("Pebble's own HTTPS")
        leaf = certificates.make("pebble", authority, ("localhost", "pebble", "hasty"))
        for name, content in (("ca.pem", authority.pem), ("cert.pem", leaf.pem), ("key.pem", leaf.key())):
            (folder / name).write_text(content)
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
        run("docker", "build", "--quiet", "--tag", IMAGE, str(ROOT / "tests/images/pebble"))

    @property
    def directory(self) -> str:
        """The address for ACME_SERVER."""
        return f"https://{self.alias}:14000/dir"

    def start(self, alias: str = "pebble", seconds: int = 7_776_000, silent: bool = False) -> None:
        """Start under this name, with certificates that are valid for so many seconds. It knows nothing from before."""
        self.stop()
        self.alias = alias
        config = {
            "listenAddress": "0.0.0.0:14000",
            "managementListenAddress": "0.0.0.0:15000",
            "certificate": "/config/cert.pem",
            "privateKey": "/config/key.pem",
            "httpPort": self.stack.port,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": [self.REFUSED],
            "retryAfter": {"authz": 1, "order": 1},
            "certificateValidityPeriod": seconds,
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": config}))
        # A label of its own, by which a killed run's container is found and removed.
        label = f"{LABEL}={self.stack.project.replace('-tls-', '-pebble-')}"
        command = ["docker", "run", "--detach", "--name", self.container, "--label", label]
        command += ["--network", f"{self.stack.project}_acme_network", "--network-alias", alias]
        for name in self.names:
            command += ["--add-host", f"{name}:host-gateway"]
        command += ["--publish", f"127.0.0.1:{self.port}:15000", "--volume", f"{self.folder}:/config:ro"]
        command += ["--env", "PEBBLE_VA_NOSLEEP=1", "--env", "PEBBLE_WFE_NONCEREJECT=0"]
        if silent:
            run(*command, "--init", "--entrypoint", "sleep", IMAGE, "infinity")
        else:
            run(*command, IMAGE, "-config", "/config/pebble.json")
            wait_for(self._root, 20, "Pebble answers")

    def fall_silent(self) -> None:
        """Be there but take no connection, as an authority that is down."""
        self.start(self.alias, silent=True)

    def _root(self) -> str:
        try:
            trust = str(self.folder / "ca.pem")
            return requests.get(f"https://localhost:{self.port}/roots/0", verify=trust, timeout=5).text
        except requests.RequestException:
            return ""

    def root(self) -> str:
        """Return the path of a file with the root of its certificates, another one after each start."""
        path = self.folder / "root.pem"
        path.write_text(self._root())
        return str(path)

    def stop(self) -> None:
        """Stop it and forget everything; twice is fine."""
        run("docker", "rm", "--force", "--volumes", self.container, check=False)
