"""Vector code for x86 processors, as LLVM instructions: registers of 512 bits, and matrix registers (AMX)."""
