// Virtual memory management, as a client sees it.
#include <gtest/gtest.h>
#include <unistd.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;

constexpr size_t kPiece = 2 << 20;

class Vmm : public tweendeck::softgpu::testing::DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    before = free_bytes();
    OK(CALL(cuMemAddressReserve)(&range, 4 * kPiece, 0, 0, 0));
  }
  void TearDown() override {
    OK(CALL(cuMemAddressFree)(range, 4 * kPiece));
    EXPECT_EQ(free_bytes(), before);
    DriverTest::TearDown();
  }
  static CUmemAllocationProp props(int device = 0, int handle_types = kHandleNone) {
    CUmemAllocationProp made{};
    made.type = kAllocationPinned;
    made.handle_types = handle_types;
    made.location = {kLocationDevice, device};
    return made;
  }
  static CUmemGenericAllocationHandle create(size_t bytes, int handle_types = kHandleNone) {
    CUmemGenericAllocationHandle handle = 0;
    const CUmemAllocationProp wanted = props(0, handle_types);
    EXPECT_EQ(CALL(cuMemCreate)(&handle, bytes, &wanted, 0), CUDA_SUCCESS);
    return handle;
  }
  static CUresult allow(CUdeviceptr address, size_t bytes, int flags = kAccessReadWrite) {
    const CUmemAccessDesc access{{kLocationDevice, 0}, flags};
    return CALL(cuMemSetAccess)(address, bytes, &access, 1);
  }
  size_t taken() { return before - free_bytes(); }

  size_t before = 0;
  CUdeviceptr range = 0;
};

TEST_F(Vmm, MemoryIsChargedFromItsCreationToItsLastUse) {
  size_t granularity = 0;
  CUmemAllocationProp wanted = props();
  OK(CALL(cuMemGetAllocationGranularity)(&granularity, &wanted, 0));
  EXPECT_EQ(granularity, kPiece);
  CUmemGenericAllocationHandle handle = 0;
  EXPECT_EQ(CALL(cuMemCreate)(&handle, kPiece + 512, &wanted, 0), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemCreate)(&handle, before / kPiece * kPiece + kPiece, &wanted, 0),
            CUDA_ERROR_OUT_OF_MEMORY);
  wanted.location.id = 3;
  EXPECT_EQ(CALL(cuMemCreate)(&handle, kPiece, &wanted, 0), CUDA_ERROR_INVALID_DEVICE);
  EXPECT_EQ(taken(), 0u);
  handle = create(kPiece);
  EXPECT_EQ(taken(), kPiece);
  OK(CALL(cuMemMap)(range, kPiece, 0, handle, 0));
  OK(CALL(cuMemRelease)(handle));
  EXPECT_EQ(CALL(cuMemRelease)(handle), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(taken(), kPiece);
  CUmemGenericAllocationHandle again = 0;
  OK(CALL(cuMemRetainAllocationHandle)(&again, reinterpret_cast<void*>(range + 100)));
  EXPECT_EQ(again, handle);
  EXPECT_EQ(CALL(cuMemAddressFree)(range, 4 * kPiece), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemUnmap)(range, kPiece));
  EXPECT_EQ(taken(), kPiece);
  OK(CALL(cuMemRelease)(again));
  EXPECT_EQ(taken(), 0u);
}

TEST_F(Vmm, NeighboursAreOneRangeAndAccessIsNeeded) {
  const CUmemGenericAllocationHandle handles[] = {create(kPiece), create(2 * kPiece)};
  OK(CALL(cuMemMap)(range, kPiece, 0, handles[0], 0));
  EXPECT_EQ(CALL(cuMemMap)(range, 2 * kPiece, 0, handles[1], 0), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemMap)(range + kPiece, 2 * kPiece, 0, handles[1], 0));
  EXPECT_EQ(CALL(cuMemsetD8_v2)(range, 1, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(allow(range, 4 * kPiece), CUDA_ERROR_INVALID_VALUE);
  OK(allow(range, 3 * kPiece));
  OK(CALL(cuMemsetD8_v2)(range, 1, 3 * kPiece));
  EXPECT_EQ(CALL(cuMemsetD8_v2)(range, 1, 3 * kPiece + 1), CUDA_ERROR_INVALID_VALUE);
  unsigned long long flags = 0;
  const CUmemLocation here{kLocationDevice, 0};
  OK(CALL(cuMemGetAccess)(&flags, &here, range + kPiece));
  EXPECT_EQ(flags, static_cast<unsigned long long>(kAccessReadWrite));
  OK(allow(range, kPiece, kAccessNone));
  EXPECT_EQ(CALL(cuMemsetD8_v2)(range, 1, 1), CUDA_ERROR_INVALID_VALUE);
  int device = -1;
  OK(CALL(cuPointerGetAttribute)(&device, 9, range + kPiece));
  EXPECT_EQ(device, 0);
  EXPECT_EQ(CALL(cuPointerGetAttribute)(&device, 9, range + 3 * kPiece), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemFree_v2)(range), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemUnmap)(range + kPiece, kPiece), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemUnmap)(range, 3 * kPiece));
  for (const auto handle : handles) OK(CALL(cuMemRelease)(handle));
}

TEST_F(Vmm, BytesBelongToTheMemoryAndNotToTheAddress) {
  const CUmemGenericAllocationHandle handle = create(kPiece);
  OK(CALL(cuMemMap)(range, kPiece, 0, handle, 0));
  OK(allow(range, kPiece));
  OK(CALL(cuMemsetD32_v2)(range, 1234, 8));
  OK(CALL(cuMemMap)(range + 2 * kPiece, kPiece, 0, handle, 0));
  OK(allow(range + 2 * kPiece, kPiece));
  unsigned word = 0;
  OK(CALL(cuMemcpyDtoH_v2)(&word, range + 2 * kPiece + 4, 4));
  EXPECT_EQ(word, 1234u);
  OK(CALL(cuMemUnmap)(range, kPiece));
  EXPECT_EQ(CALL(cuMemcpyDtoH_v2)(&word, range, 4), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemMap)(range, kPiece, 0, handle, 0));
  OK(allow(range, kPiece));
  word = 0;
  OK(CALL(cuMemcpyDtoH_v2)(&word, range, 4));
  EXPECT_EQ(word, 1234u);
  OK(CALL(cuMemUnmap)(range, kPiece));
  OK(CALL(cuMemUnmap)(range + 2 * kPiece, kPiece));
  OK(CALL(cuMemRelease)(handle));
  // Fresh memory does not show what was there before.
  const CUmemGenericAllocationHandle fresh = create(kPiece);
  OK(CALL(cuMemMap)(range, kPiece, 0, fresh, 0));
  OK(allow(range, kPiece));
  OK(CALL(cuMemcpyDtoH_v2)(&word, range, 4));
  EXPECT_EQ(word, 0u);
  OK(CALL(cuMemUnmap)(range, kPiece));
  OK(CALL(cuMemRelease)(fresh));
}

TEST_F(Vmm, AnExportedHandleIsImportedWithoutBeingPaidAgain) {
  const CUmemGenericAllocationHandle plain = create(kPiece);
  const CUmemGenericAllocationHandle handle = create(kPiece, kHandleFileDescriptor);
  int file = -1;
  EXPECT_EQ(CALL(cuMemExportToShareableHandle)(&file, plain, kHandleFileDescriptor, 0),
            CUDA_ERROR_NOT_SUPPORTED);
  OK(CALL(cuMemExportToShareableHandle)(&file, handle, kHandleFileDescriptor, 0));
  CUmemGenericAllocationHandle imported = 0;
  OK(CALL(cuMemImportFromShareableHandle)(&imported, reinterpret_cast<void*>(static_cast<intptr_t>(file)),
                                          kHandleFileDescriptor));
  close(file);
  EXPECT_EQ(taken(), 2 * kPiece);
  OK(CALL(cuMemMap)(range, kPiece, 0, handle, 0));
  OK(CALL(cuMemMap)(range + kPiece, kPiece, 0, imported, 0));
  OK(allow(range, 2 * kPiece));
  OK(CALL(cuMemsetD32_v2)(range, 77, 1));
  unsigned word = 0;
  OK(CALL(cuMemcpyDtoH_v2)(&word, range + kPiece, 4));
  EXPECT_EQ(word, 77u);
  OK(CALL(cuMemUnmap)(range, 2 * kPiece));
  OK(CALL(cuMemRelease)(handle));
  EXPECT_EQ(taken(), kPiece);
  OK(CALL(cuMemRelease)(imported));
  OK(CALL(cuMemRelease)(plain));
}

}  // namespace
