"""What `search` is made of: queries, their embedding, rankings, relevance, results."""
