"""What operators want: the model, the document that holds it, and the rules between its objects."""
