"""What `tag` is made of: recipes, the pictures of a request, the files of a directory."""
