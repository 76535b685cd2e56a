"""Own documents to a better checkpoint, without labels. torch only here and inside export, imported late."""
