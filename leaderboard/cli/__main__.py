"""`python -m leaderboard.cli`, which is `lotte`."""

from leaderboard.cli.main import main

if __name__ == "__main__":
    main()
