"""Jobs: submitted, read, waited for, streamed, canceled, retried and erased."""
