"""Choose decode settings by how well the validation volumes come out."""
