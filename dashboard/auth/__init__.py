"""Who may see and do what: sign-in, accounts, sessions."""
