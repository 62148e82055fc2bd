"""Writes requirements.lock: every package of the development environment with its version and the SHA-256 of its file.

    make lock

Reads pip's report (`pip install --dry-run --report`) from stdin. The files are those for Linux on x86-64 and Python
3.11. PyTorch is left out: its build depends on the device, and it is installed first, by its own instructions.
"""

import json
import sys

LEFT_OUT = {"foldtext", "torch"}
HEAD = """\
# Made by `make lock` from constraints.txt, for Linux on x86-64 and Python 3.11. Installs exactly these files:
#   pip install torch    (the build for your device, by PyTorch's instructions)
#   pip install --require-hashes --no-deps -r requirements.lock
"""


def main() -> None:
    lines = {}
    for package in json.load(sys.stdin)["install"]:
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        if name not in LEFT_OUT:
            digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
            lines[name.lower()] = f"{name}=={version} --hash=sha256:{digest}\n"
    sys.stdout.write(HEAD + "".join(lines[name] for name in sorted(lines)))


if __name__ == "__main__":
    main()
