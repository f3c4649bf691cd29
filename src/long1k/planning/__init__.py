"""What a training run will take, before it is paid for: parameters, operations, memory, hours, disk.

Arithmetic only: nothing here loads torch or looks at a GPU.
"""
