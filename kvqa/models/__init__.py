"""The neural networks: text, vision, fusion, graph; they know nothing of files, training or answers."""
