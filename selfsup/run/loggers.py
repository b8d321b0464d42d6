"""Loggers beside ``metrics.csv``: private by default, non-blocking."""

import getpass
import netrc
import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

WAITING = 10_000  # calls in the queue of a slow logger
PATIENCE = 10.0  # seconds for which a run waits for its logger at its end
HIDDEN = "(hidden)"


def make_logger(config: Mapping[str, Any], folder: Path, tell: Callable[[str], None]) -> Logger | bool:
    """The logger of a configuration, detached from the training; False for none.

    Args:
        folder: the run's.
        tell: gets a sentence if the logger fails or is too slow.
    """
    settings = config["logger"]
    if settings["name"] == "wandb":
        offline = settings["mode"] == "offline" or (settings["mode"] == "auto" and not _has_wandb_account())
        private = settings["private"]
        return Detached(
            Wandb(
                name=folder.name,
                project=settings["project"],
                save_dir=folder,
                offline=offline,
                config=without_machine(config) if private else dict(config),
                settings=_wandb_settings(private),
            ),
            tell,
        )
    if settings["name"] == "tensorboard":
        return Detached(TensorBoardLogger(folder, name="tensorboard", version=""), tell)
    return False


class Wandb(WandbLogger):
    """Lightning's, but its run ends with the training and not with the process."""

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status != "success"))
            self._experiment = None


class Detached(Logger):
    """Runs a logger in a thread, so that training continues whatever the logger does.

    A logger that raises is not called again. Calls to a slow one are dropped once 10,000 wait, and a run
    waits 10 s for it at its end. Both are reported in a sentence; ``metrics.csv`` has every row anyway.

    Args:
        logger: called by this thread only.
        tell: gets the sentences.
    """

    def __init__(self, logger: Logger, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.logger, self.tell = logger, tell
        self.calls: queue.Queue[Callable[[], Any]] | None = None
        self.lost, self.patience = 0, PATIENCE

    @property
    def name(self) -> str | None:
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        return self.logger.version

    @property
    def save_dir(self) -> str | None:
        return self.logger.save_dir

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = dict(metrics)
        self._hand_over(lambda: self.logger.log_metrics(row, step))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._hand_over(lambda: self.logger.log_hyperparams(params, *args, **kwargs))

    @rank_zero_only
    def share(self, call: Callable[[Any], Any], patience: float = PATIENCE) -> None:
        """Let the thread call ``call`` with the logger itself, for features of some loggers.

        Args:
            patience: seconds for which the run waits at its end, for large files.
        """
        self.patience = max(self.patience, patience)
        self._hand_over(lambda: call(self.logger))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self.calls is None or not self.thread.is_alive():
            return
        try:
            self.calls.put(lambda: self.logger.finalize(status), timeout=PATIENCE)
            self.ended.set()
            self.thread.join(self.patience)
        except queue.Full:
            self.lost += 1
        if self.thread.is_alive() or self.lost:
            self.tell(
                f"{self._called} was too slow: {self.lost + self.calls.qsize()} calls to it are lost; "
                "metrics.csv has every row"
            )

    @property
    def _called(self) -> str:
        return f"the logger {type(self.logger).__name__.lower().removesuffix('logger')}"

    def _hand_over(self, call: Callable[[], Any]) -> None:
        if self.calls is None:  # not in __init__: a thread cannot be sent to another process
            self.calls, self.ended = queue.Queue(WAITING), threading.Event()
            self.thread = threading.Thread(target=self._work, name="logger", daemon=True)
            self.thread.start()
        try:
            if self.thread.is_alive():
                self.calls.put_nowait(call)
        except queue.Full:
            self.lost += 1

    def _work(self) -> None:
        assert self.calls is not None
        while not (self.ended.is_set() and self.calls.empty()):
            try:
                call = self.calls.get(timeout=0.1)
            except queue.Empty:
                continue
            try:
                call()
            except Exception as error:  # noqa: BLE001 - another package's code: any exception is reported
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                self.tell(
                    f"{self._called} failed and is not called again ({reason}); metrics.csv has every row"
                )
                return


def without_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without paths, user and host.

    Example:
        >>> without_machine({"batch_size": 8, "data": {"name": "folder", "root": "/mnt/scans"}})
        {'batch_size': 8, 'data': {'name': 'folder', 'root': '(hidden)'}}
    """
    return {key: _shown(key, value) for key, value in config.items() if key != "overrides"}


def public_name(data: Mapping[str, Any]) -> str:
    """The data's name in public: the last part of a folder's path.

    Example:
        >>> public_name({"name": "uoft-cs/cifar10"}), public_name({"name": "/mnt/scans"})
        ('uoft-cs/cifar10', 'scans')
    """
    name = str(data["name"])
    return Path(name).expanduser().name if _is_path(name) else name


def _is_path(name: str) -> bool:
    return name.startswith(("/", "~", ".")) or "\\" in name or os.path.exists(name)


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _shown(inner, one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(key, one) for one in value]
    if isinstance(value, str) and _of_the_machine(key, value):
        return HIDDEN
    return value


def _of_the_machine(key: str, value: str) -> bool:
    if any(mark in value for mark in ("/", "\\", "~")) or value in (socket.gethostname(), _user()):
        return True
    return key != "name" and os.path.exists(value)  # a folder beside the working directory


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return None


def _wandb_settings(private: bool) -> Any:
    import wandb

    known = wandb.Settings.model_fields
    waits: dict[str, Any] = {"init_timeout": PATIENCE, "finish_timeout": PATIENCE}
    hides: dict[str, Any] = {
        "console": "off",  # what is printed has paths in it
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "host": "",
        "username": "",
        "email": "",
        "program": "selfsup",
        "program_relpath": "selfsup",
        "program_abspath": "selfsup",
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
    }
    wanted = waits | (hides if private else {})
    return wandb.Settings(**{key: value for key, value in wanted.items() if key in known})


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
