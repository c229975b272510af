"""The one error a user can cause and mend."""


class UserError(ValueError):
    """Something the user gave cannot be used: one line that says what is wrong, where, and what to do."""
