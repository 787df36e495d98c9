"""Count the pushes to main, on GitHub Actions: python -m tests.scoring.pushes

GitHub lists a repository's activity (docs.github.com, REST API, "List repository activities"). Creating the branch is
not a push.
"""
import http.client
import json
import os
import urllib.request

from tests.scoring.tasks import PUSHES

KINDS = "push", "force_push", "pr_merge", "merge_queue_merge"


def count_pushes() -> int:
    """Return the number of pushes to main, up to 100.

    Raises:
        OSError, HTTPException, ValueError, KeyError, TypeError: GitHub does not tell.
    """
    url = (f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/activity"
           "?ref=refs/heads/main&per_page=100")
    request = urllib.request.Request(url, headers={
        "Accept": "application/vnd.github+json", "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return sum(activity["activity_type"] in KINDS for activity in json.load(answer))


def in_words() -> str:
    """Return a line about the number of pushes, or why it is unknown."""
    try:
        number = count_pushes()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"The pushes to `main` could not be counted ({type(error).__name__}: {error})."
    words = f"Pushes to `main`: {number}, of {PUSHES} allowed."
    return words + (" Extra pushes cost points." if number > PUSHES else "")


if __name__ == "__main__":
    print(in_words())
