"""What a token is: a folder for each unit, and one protocol that all of them keep."""
