package holdfast;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * A client of the bytes service (tests/transport/bytes_service.py), by grpc-java: {@code Peer
 * ADDRESS CASE}.
 *
 * <p>It prints what the test compares: the digest of what was read or written, or the status code
 * that a call ended with.
 */
public final class Peer {
  private static final int PIECE = 1 << 20;
  private static final int PIECES = 64;
  private static final long WAIT_SECONDS = 60;

  private enum Raw implements MethodDescriptor.Marshaller<byte[]> {
    SAME;

    @Override
    public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  private static MethodDescriptor<byte[], byte[]> method(String name, MethodType type) {
    return MethodDescriptor.newBuilder(Raw.SAME, Raw.SAME)
        .setFullMethodName("holdfast.test.Bytes/" + name)
        .setType(type)
        .build();
  }

  private static CallOptions soon(long milliseconds) {
    return CallOptions.DEFAULT.withDeadlineAfter(milliseconds, TimeUnit.MILLISECONDS);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }

  private static Iterator<byte[]> stream(
      Channel channel, String name, String request, long milliseconds) {
    return ClientCalls.blockingServerStreamingCall(
        channel, method(name, MethodType.SERVER_STREAMING), soon(milliseconds), bytes(request));
  }

  private static String echo(Channel channel) {
    return new String(
        ClientCalls.blockingUnaryCall(
            channel,
            method("Echo", MethodType.UNARY),
            soon(WAIT_SECONDS * 1000),
            bytes("are you there?")),
        StandardCharsets.US_ASCII);
  }

  private static String read(Channel channel) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    stream(channel, "Read", String.valueOf(PIECES * PIECE), WAIT_SECONDS * 1000)
        .forEachRemaining(digest::update);
    return HexFormat.of().formatHex(digest.digest());
  }

  /** Waits until the transport has room for each message, as a well-behaved client does. */
  private static String write(Channel channel) throws Exception {
    ClientCall<byte[], byte[]> call =
        channel.newCall(method("Write", MethodType.BIDI_STREAMING), soon(WAIT_SECONDS * 1000));
    CompletableFuture<String> reply = new CompletableFuture<>();
    Semaphore ready = new Semaphore(0);
    call.start(
        new ClientCall.Listener<>() {
          @Override
          public void onMessage(byte[] message) {
            reply.complete(new String(message, StandardCharsets.US_ASCII));
          }

          @Override
          public void onReady() {
            ready.release();
          }

          @Override
          public void onClose(Status status, Metadata trailers) {
            reply.completeExceptionally(status.asRuntimeException());
            ready.release();
          }
        },
        new Metadata());
    call.request(2);
    for (int number = 0; number < PIECES; number++) {
      while (!call.isReady() && !reply.isDone()) {
        ready.acquire();
      }
      byte[] message = new byte[PIECE];
      Arrays.fill(message, (byte) number);
      call.sendMessage(message);
    }
    call.halfClose();
    return reply.get();
  }

  private static String cancel(Channel channel) throws Exception {
    CompletableFuture<String> code = new CompletableFuture<>();
    ClientCall<byte[], byte[]> call =
        channel.newCall(method("Sleep", MethodType.SERVER_STREAMING), soon(WAIT_SECONDS * 1000));
    call.start(
        new ClientCall.Listener<>() {
          @Override
          public void onMessage(byte[] message) {
            call.cancel("enough", null);
          }

          @Override
          public void onClose(Status status, Metadata trailers) {
            code.complete(status.getCode().name());
          }
        },
        new Metadata());
    call.request(2);
    call.sendMessage(bytes("java cancel"));
    call.halfClose();
    return code.get();
  }

  /** Calls something else before, so that the time to connect isn't part of the deadline. */
  private static String deadline(Channel channel) {
    echo(channel);
    try {
      stream(channel, "Sleep", "java deadline", 1000).forEachRemaining(message -> {});
      return "OK";
    } catch (StatusRuntimeException error) {
      return error.getStatus().getCode().name();
    }
  }

  private static String run(Channel channel, String name) throws Exception {
    return switch (name) {
      case "echo" -> echo(channel);
      case "read" -> read(channel);
      case "write" -> write(channel);
      case "cancel" -> cancel(channel);
      case "deadline" -> deadline(channel);
      default -> throw new IllegalArgumentException(name);
    };
  }

  /** Runs one case against one address. */
  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel =
        NettyChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    try {
      System.out.println(run(channel, arguments[1]));
    } finally {
      channel.shutdownNow();
    }
  }
}
