"""Who may see the pages: sessions, scopes, and the defences of a browser."""
