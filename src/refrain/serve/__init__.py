"""Trained models and runs over HTTP: a server of models, and the page of runs that train."""
