"""Stop a run: python -m producers.cancel RUN."""

from producers.submit.lifecycle import cancel

if __name__ == "__main__":
    cancel()
