"""Go on with a run: python -m producers.resume RUN [--budget-usd 5]."""

from producers.submit.lifecycle import resume

if __name__ == "__main__":
    resume()
