"""``python -m sadik_node`` is the command ``sadik-node``."""

from sadik_node.cli import main

if __name__ == "__main__":
    main()
