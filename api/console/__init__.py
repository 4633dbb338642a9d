"""The pages that the API serves beside its JSON: signed in to with a key, in a browser."""
