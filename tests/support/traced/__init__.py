"""Every number of every table once more, plainly, from the files that it is defined on.

Nothing here is shared with the package but the names of things in print. What is random (resamples of users, sign
patterns) is drawn from the seed that docs/explanation/protocol.md gives, so that the figures have to be the same.
"""
