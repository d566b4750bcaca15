"""Shell completion: the scripts for bash, zsh and fish, and names of contacts and groups while the home is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .settings import Settings


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete `berty` commands and names.

    \b
    Examples:
      eval "$(berty completion bash)"   # in ~/.bashrc
      eval "$(berty completion zsh)"    # in ~/.zshrc
      berty completion fish > ~/.config/fish/completions/berty.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415  only for this

    from .main import COMPLETION, berty  # noqa: PLC0415  it imports this module

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    instance = kind(berty, {}, "berty", COMPLETION)
    click.echo(instance.source_template % instance.source_vars())


def complete_contact(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of contacts that begin like this."""
    return _names(ctx, incomplete, "contact_list")


def complete_conversation(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of contacts and groups that begin like this."""
    return _names(ctx, incomplete, "group_list")


def complete_group(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of groups that begin like this."""
    return _names(ctx, incomplete, "group_list", kind="group")


def complete_invitation(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of invitations that begin like this."""
    return _names(ctx, incomplete, "group_invitations")


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys of settings that begin like this."""
    from .survey import survey  # noqa: PLC0415  slow

    keys = (".".join(setting.path) for setting in survey(_settings(ctx)).settings())
    return [key for key in keys if key.startswith(incomplete)]


def complete_plugin(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of installed plugins that begin like this."""
    from ..plugins import installed  # noqa: PLC0415  slow

    return [point.name for point in installed() if point.name.startswith(incomplete)]


def _settings(ctx: click.Context) -> Settings:
    from .settings import Settings, default_home  # noqa: PLC0415

    return Settings((ctx.find_root().params.get("home") or default_home()).expanduser())


def _names(ctx: click.Context, incomplete: str, method: str, **wanted: Any) -> list[str]:
    """Ask the running node; without one there is nothing to offer, and no time to open the home."""
    from ..runtime.control_socket import Connection  # noqa: PLC0415  only for this

    connection = Connection.open(_settings(ctx).home)
    if connection is None:
        return []
    with connection:
        views = connection.call(method)
    fitting = [view for view in views if all(view[key] == value for key, value in wanted.items())]
    names = [view["name"] for view in fitting if view["name"].isprintable()]
    return sorted(name for name in names if name.casefold().startswith(incomplete.casefold()))
