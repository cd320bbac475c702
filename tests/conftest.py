"""What holds in every test: no network, and one thread: the networks are tiny, and the tests run side by side."""

import ipaddress
import os
import socket
import sys
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client, which reads it once
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the processes that tests start
# processors that multiply bfloat16 in hardware round otherwise than all others, and tiny networks decide by little
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads warn when a test starts a process


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that leaves this machine fails the test, even where the code would swallow an OSError."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _loopback(address[0]):
            self.close()
            pytest.fail(f"a test tried to reach {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch = sys.modules.get("torch")  # a test that does without torch stays without it
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
