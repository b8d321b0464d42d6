"""With the repository root on the path, our folder `ssl/` comes before the standard library's module.

Every check runs in a process of its own whose working directory is the repository root, against a TLS
server in this process, which has the standard module.
"""

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

ROOT = Path(__file__).parents[1]
LAUNCHERS = sorted(path.stem for path in (ROOT / "ssl").glob("*.py") if path.stem != "__init__")

# Proves that what follows runs on the stand-in, and not on a standard module that some start-up hook loaded.
ON_THE_STAND_IN = "import ssl, sys; assert ssl.__path__, ssl\n"


def python(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # These settings of the caller would decide what is on the child's path.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def output_on_stand_in(code: str, *arguments: object) -> str:
    result = python("-c", ON_THE_STAND_IN + code, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments: object) -> None:
        pass


class HelloServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # one client hangs up on purpose, since it does not trust the certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The certificate of a new authority, and the port of a server on localhost that it vouches for."""
    ca, path = trustme.CA(), tmp_path_factory.mktemp("tls") / "authority.pem"
    ca.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    with HelloServer(("127.0.0.1", 0), Hello) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield path, server.server_address[1]
        server.shutdown()
        thread.join()


CLIENTS = {
    "ssl": """
import socket
context = ssl.create_default_context(cafile=authority)
with socket.create_connection(("127.0.0.1", port)) as plain, \\
        context.wrap_socket(plain, server_hostname="localhost") as connection:
    assert isinstance(connection, ssl.SSLSocket) and connection.version().startswith("TLS")
    connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    answer = b"".join(iter(lambda: connection.recv(4096), b""))
print(answer.split(b"\\r\\n")[-1].decode())
""",
    "http.client": """
import http.client
context = ssl.create_default_context(cafile=authority)
connection = http.client.HTTPSConnection("localhost", port, context=context)
connection.request("GET", "/")
print(connection.getresponse().read().decode())
""",
    "urllib": """
import urllib.request
context = ssl.create_default_context(cafile=authority)
no_proxy = urllib.request.ProxyHandler({})
opener = urllib.request.build_opener(no_proxy, urllib.request.HTTPSHandler(context=context))
print(opener.open(f"https://localhost:{port}/").read().decode())
""",
    "asyncio": """
import asyncio
async def ask():
    context = ssl.create_default_context(cafile=authority)
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    answer = await reader.read()
    writer.close()
    return answer
print(asyncio.run(ask()).split(b"\\r\\n")[-1].decode())
""",
    "requests": """
import requests
session = requests.Session()
session.trust_env = False
print(session.get(f"https://localhost:{port}/", verify=authority).text)
""",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_trusted_server_answers_over_tls(client: str, authority: tuple[Path, int]) -> None:
    arguments = "authority, port = sys.argv[1], int(sys.argv[2])\n"
    assert output_on_stand_in(arguments + CLIENTS[client], *authority) == "hello"


def test_a_server_that_nobody_vouches_for_is_refused(authority: tuple[Path, int]) -> None:
    code = """
import socket
context = ssl.create_default_context()
assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    try:
        context.wrap_socket(plain, server_hostname="localhost")
    except ssl.SSLError as error:
        print(type(error).__name__, isinstance(error, OSError))
"""
    assert output_on_stand_in(code, authority[1]) == "SSLCertVerificationError True"


def test_the_stand_in_has_what_the_standard_module_has(tmp_path: Path) -> None:
    code = """
import json
kinds = {name: type(value).__name__ for name, value in vars(ssl).items() if not name.startswith("__")}
print(json.dumps([kinds, ssl.__name__, ssl.__doc__, ssl.__file__]))
"""
    elsewhere = python("-c", "import ssl; assert not hasattr(ssl, '__path__'), ssl\n" + code, cwd=tmp_path)
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert json.loads(output_on_stand_in(code)) == json.loads(elsewhere.stdout)


def test_it_can_be_pickled_inspected_and_reloaded() -> None:
    code = """
import importlib, inspect, pickle
version = ssl.TLSVersion.TLSv1_3
assert pickle.loads(pickle.dumps(version)) is version
assert pickle.loads(pickle.dumps(ssl.SSLContext)) is ssl.SSLContext
assert inspect.getsource(ssl.SSLContext).startswith("class SSLContext")
assert importlib.reload(ssl) is ssl and ssl.__path__
assert isinstance(ssl.create_default_context(), ssl.SSLContext)
"""
    output_on_stand_in(code)


def test_two_checkouts_on_the_path_do_not_find_each_other(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "ssl", tmp_path / "ssl")
    code = "import importlib; sys.path.insert(1, sys.argv[1]); print(importlib.reload(ssl).__path__[0])"
    assert output_on_stand_in(code, tmp_path) == str(ROOT / "ssl")


def test_libraries_that_need_tls_import() -> None:
    output_on_stand_in("import urllib3, requests, aiohttp, wandb\n")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_a_launcher_have_tls_too(method: str, tmp_path: Path) -> None:
    # A copy of the folder with one more launcher: a worker imports its parent's main module by name.
    shutil.copytree(ROOT / "ssl", tmp_path / "ssl")
    (tmp_path / "ssl" / "workers.py").write_text(f"""
import multiprocessing, ssl
def work(version):
    return ssl.__path__, version, isinstance(ssl.create_default_context(), ssl.SSLContext)
if __name__ == "__main__":
    with multiprocessing.get_context("{method}").Pool(1) as pool:
        path, version, made = pool.apply(work, [ssl.TLSVersion.TLSv1_2])
    assert path == ssl.__path__ and version is ssl.TLSVersion.TLSv1_2 and made
    print("done")
""")
    result = python("-m", "ssl.workers", cwd=tmp_path)
    assert result.stdout == "done\n", result.stderr


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_is_the_command_of_its_name(name: str) -> None:
    launched = python("-m", f"ssl.{name}", "--help")
    assert launched.returncode == 0, launched.stderr
    command = f"import sys; from selfsup.commands import main; sys.exit(main([{name!r}, '--help']))"
    assert launched.stdout == python("-c", command).stdout != ""


def test_a_mistake_is_a_sentence_and_a_status_under_a_launcher() -> None:
    result = python("-m", "ssl.train", "method=barlw")
    assert result.returncode == 2
    assert "barlw" in result.stderr
    assert "barlow" in result.stderr
    assert "Traceback" not in result.stderr
