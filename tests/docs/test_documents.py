"""The documents are true: links resolve, and the tutorial's bot answers a message that really arrives."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from berty_core.config import NodeConfig
from berty_core.runtime.node import Node, create_home

ROOT = Path(__file__).parent.parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("plugins/*/README.md")]
LOOPBACK = NodeConfig(keyring=False, disabled=("libp2p", "udp"), plugins={"mdns": {"loopback": True}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_the_bot_answers(tmp_path: Path) -> None:
    """The tutorial's own file, in a process of its own, answers a text over the loopback interface, once."""
    create_home(tmp_path / "bot", "Bot", config=LOOPBACK)
    (tmp_path / "bot" / "berty.toml").write_text(
        '[node]\nkeyring = false\ndisabled = ["libp2p", "udp"]\n[plugins.mdns]\nloopback = true\n'
    )
    answers = anyio.run(_talk_to_bot, tmp_path)
    assert answers == ["You said: hello"]


async def _talk_to_bot(directory: Path) -> list[str]:
    async with Node.open(directory / "bot", network=False, config=LOOPBACK) as bot:
        link = (await bot.store.write(bot.actions.contact_link))["link"]
    with anyio.fail_after(60):
        async with Node.open(directory / "ann", name="Ann", config=LOOPBACK) as ann:
            await ann.store.write(ann.actions.contact_add, link)
            async with Node.open(directory / "bot", config=LOOPBACK) as bot:
                while not await bot.store.read(bot.actions.contact_list):
                    await anyio.sleep(0.05)
                await bot.store.write(bot.actions.contact_accept, "Ann")
            file = ROOT / "docs" / "tutorials" / "answer_bot.py"
            process = subprocess.Popen([sys.executable, str(file), str(directory / "bot")])  # noqa: ASYNC220
            try:
                await ann.send("Bot", "hello")
                async for message in ann.messages("test"):
                    return [message.text]
            finally:
                process.kill()
                process.wait()
    return []
