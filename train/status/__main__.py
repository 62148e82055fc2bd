from textgen.common.cli import run
from train.status.main import show_status


def main() -> None:
    """The command. It needs no PyTorch, so that it can be called every second."""
    run(show_status)


if __name__ == "__main__":
    main()
