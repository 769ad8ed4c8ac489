"""The knowledge graph: facts, where they were read, how they are kept and how they hang together.

Nothing is imported here, so that `import kb` costs nothing. The front doors are `kb.readers.read_source` (file to
triples), `kb.store.KnowledgeStore` (triples to facts), `kb.graph.FactGraph` (facts to neighbourhoods),
`kb.relations.verbalise` (fact to sentence) and `kb.lemmas.lemmatise` (name to dictionary form).
"""
