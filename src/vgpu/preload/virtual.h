// Physical memory of cuMemCreate. It is charged once, when it is made, however often it is mapped, and is
// given back with the last of its handles and mappings. Memory that another process made is not charged: the
// exporter pays. Safe from any thread, inside a slice only.
#pragma once

namespace tweendeck::vgpu {

// After fork: the child has none of the parent's memory.
void forget_virtual();

}  // namespace tweendeck::vgpu
