"""What an array is: namespaces, the flat vector, random bits, dual arrays."""
