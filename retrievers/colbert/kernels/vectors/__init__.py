"""Vector code as LLVM instructions: registers of 128, 256 and 512 bits, and matrix registers (AMX)."""
