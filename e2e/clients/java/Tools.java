import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import org.apache.kafka.common.utils.Exit;

/**
 * Apache Kafka's command-line tools, run one after the other in this JVM: to start one takes longer than most runs.
 * A tool gets its own arguments and streams, and ends as its process would: with its shutdown hooks and a status.
 */
final class Tools {
    static ObjectNode run(String tool, JsonNode args, String input) throws Exception {
        String[] arguments = new String[args.size()];
        for (int i = 0; i < arguments.length; i++) {
            arguments[i] = args.get(i).asText();
        }
        List<Runnable> hooks = new ArrayList<>();
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        InputStream stdin = System.in;
        PrintStream stdout = System.out;
        PrintStream stderr = System.err;
        OptionalInt[] status = {OptionalInt.empty()};
        Exit.setExitProcedure((code, message) -> {
            // Some tools take what ends them here for a failure, and exit once more.
            status[0] = status[0].isPresent() ? status[0] : OptionalInt.of(code);
            throw new Ended();
        });
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Ended)) {
                throw e;
            }
        } finally {
            hooks.forEach(Runnable::run);
            System.setErr(stderr);
            System.setOut(stdout);
            System.setIn(stdin);
            Exit.resetShutdownHookAdder();
            Exit.resetExitProcedure();
        }
        return Driver.JSON.createObjectNode()
                .put("status", status[0].orElse(0))
                .put("out", out.toString(StandardCharsets.UTF_8))
                .put("err", err.toString(StandardCharsets.UTF_8));
    }

    /** In place of the end of the process. */
    private static final class Ended extends Error {
        private static final long serialVersionUID = 1;
    }

    private Tools() {}
}
