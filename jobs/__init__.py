"""The contract that the API and the workers share: jobs, their ledger, their images, their keys."""
