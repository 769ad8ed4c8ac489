"""Finding the facts that a question about a picture needs: embeddings, index, linking, retrieval."""
