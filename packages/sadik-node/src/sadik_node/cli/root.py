"""The verbs by name, each loaded from its module on use."""

from __future__ import annotations

import importlib
import os
import sys

import click

__all__ = ["LazyGroup", "cli", "main"]

_VERBS: dict[str, tuple[str, str]] = {
    "dev": ("dev:dev", "Run a local cluster in one terminal."),
    "serve": ("serve:serve", "Run one node in the foreground."),
    "put": ("objects:put", "Store a value."),
    "get": ("objects:get", "Print a value."),
    "delete": ("objects:delete", "Delete a key."),
    "list": ("objects:list_keys", "List the keys of a bucket."),
    "import": ("importing:import_directory", "Store a directory tree in a bucket."),
    "export": ("exporting:export_bucket", "Write a bucket's values as a directory tree."),
    "status": ("views:status", "Show how a node is."),
    "members": ("views:members", "Show the members of the cluster."),
    "ring": ("views:ring", "Show who owns what."),
    "hints": ("views:hints", "Show what waits for nodes that were away."),
    "top": ("top:top", "Watch the whole cluster at work, in the terminal."),
    "staleness": ("staleness:staleness", "Show how long writes take to all replicas."),
    "explain": ("views:explain", "Show where a key lives and what each replica holds."),
    "repair": ("repair:repair", "Compare replicas now, and mend what differs."),
    "backup": ("backups:backup", "Back the whole cluster up, or verify a backup."),
    "restore": ("restores:restore", "Put a backup into a new cluster."),
    "scrub": ("scrubbing:scrub", "Have a node look for damage in all that it holds."),
    "plan": ("membership:plan", "Show what a change of members would move."),
    "transfers": ("membership:transfers", "Show what moves, and why something does not."),
    "leave": ("membership:leave", "Have a node leave the cluster."),
    "remove": ("membership:remove", "Remove a dead node."),
    "bucket": ("buckets:bucket", "Show and set the properties of buckets."),
    "storage": ("storages:storage", "Work on the store of a stopped node."),
    "certs": ("certs:certs", "Make certificates for the nodes of a cluster."),
    "token": ("tokens:token", "Give clients tokens, and take them back."),
    "secret": ("secrets:secret", "Make and replace the secret that nodes share."),
    "config": ("configs:config", "Check a configuration file."),
    "doctor": ("doctor:doctor", "Check machine, configuration and cluster; say what to do."),
    "completion": ("completion:completion", "Have a shell complete verbs, options and names."),
    "version": ("versions:version", "Show the version."),
}


class LazyGroup(click.Group):
    """A group that imports a verb when it is run, and not for its line in the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        del ctx
        if cmd_name not in _VERBS:
            return None
        module_name, _, attribute = _VERBS[cmd_name][0].partition(":")
        module = importlib.import_module(f"sadik_node.cli.{module_name}")
        command = getattr(module, attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; where there is none, name the one that was meant, if that can be told."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415 - only for who mistypes

            for meant in get_close_matches(args[0], _VERBS, n=1):
                raise click.UsageError(f"{error.message} Did you mean {meant!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line for each verb, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Sadik, a key-value store without a leader: nodes, data and what goes on inside.

    Verbs on data and views talk to a node over HTTP (--node, or the variable SADIK_NODE).

    Exit codes: 0 done; 1 the cluster refused or failed; 2 wrong usage or configuration; 3 not
    found; 4 siblings (all printed).

    \b
    Example:
      sadik-node dev                      # three nodes, until Ctrl-C
      sadik-node put notes hello world    # in another terminal
      sadik-node get notes hello
    """


def main() -> None:
    """Run the command line and exit."""
    try:
        cli(prog_name="sadik-node")
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
