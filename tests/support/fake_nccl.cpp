// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_nccl.hpp"

#include <cstring>
#include <memory>
#include <utility>

namespace strata::testing {

namespace {

struct FakeCommunicator {
  FakeNccl* owner = nullptr;
  std::int32_t lane = 0;
  int looks_left = 0;
  bool ended = false;
};

/// The process's own, and the group that it is in the middle of.
thread_local FakeNccl* current = nullptr;
thread_local std::vector<std::unique_ptr<FakeCommunicator>> communicators;
thread_local std::vector<NetworkPart> group;
thread_local FakeCommunicator* group_communicator = nullptr;
thread_local std::int32_t group_stream = -1;

FakeCommunicator& of(ncclComm_t communicator) { return *reinterpret_cast<FakeCommunicator*>(communicator); }

ncclResult_t in_background(FakeCommunicator& communicator) {
  communicator.looks_left = communicator.owner->looks_until_ready;
  return communicator.looks_left == 0 ? ncclSuccess : ncclInProgress;
}

ncclResult_t version(int* number) {
  *number = 22809;
  return ncclSuccess;
}
const char* error_string(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited" : "invalid argument";
}
const char* last_error(ncclComm_t) { return "told by the fake"; }

ncclResult_t unique_id(ncclUniqueId* id) {
  std::memset(id->internal, 7, sizeof id->internal);
  return ncclSuccess;
}

ncclResult_t init_rank(ncclComm_t* communicator, int, ncclUniqueId id, int, ncclConfig_t* config) {
  if (id.internal[0] != 7 || config->blocking != 0) return ncclInvalidArgument;
  if (current->init_result != ncclInProgress) return current->init_result;
  communicators.push_back(
      std::make_unique<FakeCommunicator>(FakeCommunicator{current, current->opened++, 0, false}));
  *communicator = reinterpret_cast<ncclComm_t>(communicators.back().get());
  return in_background(*communicators.back());
}

ncclResult_t async_error(ncclComm_t communicator, ncclResult_t* state) {
  FakeCommunicator& own = of(communicator);
  const std::int64_t look = own.owner->looks++;
  *state = ncclSuccess;
  if (own.looks_left != 0) {
    *state = ncclInProgress;
    if (own.looks_left > 0) --own.looks_left;
  }
  if (own.owner->fails_at >= 0 && look >= own.owner->fails_at) *state = ncclRemoteError;
  return ncclSuccess;
}

ncclResult_t group_start() {
  group.clear();
  group_communicator = nullptr;
  return ncclSuccess;
}

ncclResult_t add_part(const void* data, std::size_t count, ncclDataType_t type, int peer, bool sends,
                      ncclComm_t communicator, cudaStream_t stream) {
  if (type != ncclInt8) return ncclInvalidArgument;
  auto* const bytes = const_cast<std::byte*>(static_cast<const std::byte*>(data));
  group.push_back({bytes, static_cast<std::int64_t>(count), peer, sends});
  group_communicator = &of(communicator);
  group_stream = static_cast<std::int32_t>(reinterpret_cast<std::intptr_t>(stream)) - 1;
  return ncclSuccess;
}
ncclResult_t send(const void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                  cudaStream_t stream) {
  if (current->send_result != ncclSuccess) return current->send_result;
  return add_part(data, count, type, peer, true, communicator, stream);
}
ncclResult_t receive(void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                     cudaStream_t stream) {
  return add_part(data, count, type, peer, false, communicator, stream);
}

ncclResult_t group_end() {
  if (group_communicator == nullptr) return ncclSuccess;
  ++current->exchanges;
  current->network->exchange(group_stream, group_communicator->lane, group);
  return in_background(*group_communicator);
}

void end(FakeCommunicator& communicator) {
  if (std::exchange(communicator.ended, true)) ++communicator.owner->used_after_end;
}

ncclResult_t finalize(ncclComm_t communicator) {
  ++of(communicator).owner->finalized;
  return in_background(of(communicator));
}
ncclResult_t destroy(ncclComm_t communicator) {
  ++of(communicator).owner->destroyed;
  end(of(communicator));
  return ncclSuccess;
}
ncclResult_t abort(ncclComm_t communicator) {
  ++of(communicator).owner->aborted;
  end(of(communicator));
  return ncclSuccess;
}

}  // namespace

void FakeNccl::use() {
  current = this;
  communicators.clear();
}

NcclLibrary FakeNccl::library() {
  NcclLibrary nccl;
  nccl.get_version = version;
  nccl.error_string = error_string;
  nccl.last_error = last_error;
  nccl.unique_id = unique_id;
  nccl.init_rank = init_rank;
  nccl.async_error = async_error;
  nccl.group_start = group_start;
  nccl.group_end = group_end;
  nccl.send = send;
  nccl.receive = receive;
  nccl.finalize = finalize;
  nccl.destroy = destroy;
  nccl.abort = abort;
  nccl.version = 22809;
  return nccl;
}

void* native_stream(std::int32_t stream) {
  return reinterpret_cast<void*>(static_cast<std::intptr_t>(stream) + 1);
}

}  // namespace strata::testing
