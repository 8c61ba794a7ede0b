import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * Java's two clients: sends each request given on the command line, and writes a line with the status or the
 * error for each. Arguments: HttpURLConnection or HttpClient, a picture's path, then URL, content and size
 * for each request.
 */
class Client {
    private static final String BOUNDARY = "early-answers";

    public static void main(String[] arguments) throws Exception {
        byte[] picture = Files.readAllBytes(Path.of(arguments[1]));
        for (int at = 2; at < arguments.length; at += 3) {
            String content = arguments[at + 1];
            byte[] body = body(content, picture, Integer.parseInt(arguments[at + 2]));
            String type = content.equals("text")
                ? "text/plain" : "multipart/form-data; boundary=" + BOUNDARY;
            URI uri = URI.create(arguments[at]);
            try {
                System.out.println(arguments[0].equals("HttpClient")
                    ? byHttpClient(uri, type, body) : byUrlConnection(uri, type, body));
            } catch (Exception error) {
                System.out.println(error);
            }
        }
        System.exit(0);
    }

    private static byte[] body(String content, byte[] picture, int size) {
        byte[] filler = new byte[size];
        if (content.equals("text")) {
            Arrays.fill(filler, (byte) ' ');
            return filler;
        }
        String[] parts = content.split(":");
        byte[] head = ("--" + BOUNDARY + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\""
            + parts[1] + "\"\r\n\r\n").getBytes(StandardCharsets.UTF_8);
        byte[] end = ("\r\n--" + BOUNDARY + "--\r\n").getBytes(StandardCharsets.UTF_8);
        System.arraycopy(head, 0, filler, 0, head.length);
        if (parts[0].equals("picture")) {
            System.arraycopy(picture, 0, filler, head.length, picture.length);
        }
        System.arraycopy(end, 0, filler, size - end.length, end.length);
        return filler;
    }

    private static int byUrlConnection(URI uri, String type, byte[] body) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setFixedLengthStreamingMode(body.length);
        connection.setRequestProperty("Content-Type", type);
        try (OutputStream stream = connection.getOutputStream()) {
            stream.write(body);
        }
        int status = connection.getResponseCode();
        try (InputStream answer = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            answer.readAllBytes();
        }
        return status;
    }

    private static int byHttpClient(URI uri, String type, byte[] body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(uri).header("Content-Type", type)
            .POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode();
    }
}
