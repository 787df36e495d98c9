"""How many pushes to main there were, of those that are allowed: python -m tests.scoring.pushes, on GitHub Actions

GitHub keeps a list of a repository's activity (docs.github.com, REST API, "List repository activities"). The branch's
creation is not a push.
"""
import http.client
import json
import os
import urllib.request

from tests.scoring.tasks import PUSHES

KINDS = "push", "force_push", "pr_merge", "merge_queue_merge"


def count_pushes() -> int:
    """The number of pushes to main, up to 100. Raises OSError, ValueError or KeyError where it cannot be had."""
    url = (f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/activity"
           "?ref=refs/heads/main&per_page=100")
    request = urllib.request.Request(url, headers={
        "Accept": "application/vnd.github+json", "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return sum(activity["activity_type"] in KINDS for activity in json.load(answer))


def in_words() -> str:
    try:
        number = count_pushes()
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"The pushes to `main` could not be counted ({type(error).__name__}: {error})."
    words = f"Pushes to `main`: {number} of {PUSHES} that are allowed."
    return words + (" Points are deducted for more." if number > PUSHES else "")


if __name__ == "__main__":
    print(in_words())
